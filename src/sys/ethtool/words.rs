//! Settings that the kernel keeps as a row of 32-bit numbers after the command.

/// One such row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Queues (`ethtool -l`).
    Channels,
    /// Descriptors per queue (`ethtool -g`).
    Rings,
    /// Interrupt moderation (`ethtool -c`).
    Coalesce,
    /// Flow control (`ethtool -a`).
    Pause,
    /// Energy-efficient Ethernet (`ethtool --show-eee`).
    Eee,
}

/// One number of a row.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name here; `ethtool` prints the same with blanks.
    pub name: &'static str,
    /// Its place, in words; the command is word 0.
    pub(super) word: usize,
    /// A maximum or a state.
    pub read_only: bool,
}

const fn set(name: &'static str, word: usize) -> Field {
    Field { name, word, read_only: false }
}

const fn told(name: &'static str, word: usize) -> Field {
    Field { name, word, read_only: true }
}

impl Group {
    /// All of them.
    pub const ALL: [Group; 5] = [Group::Channels, Group::Rings, Group::Coalesce, Group::Pause, Group::Eee];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Group::Channels => "channels",
            Group::Rings => "rings",
            Group::Coalesce => "coalesce",
            Group::Pause => "pause",
            Group::Eee => "eee",
        }
    }

    /// The numbers of the row that are used here.
    #[must_use]
    pub fn fields(self) -> &'static [Field] {
        match self {
            Group::Channels => CHANNELS,
            Group::Rings => RINGS,
            Group::Coalesce => COALESCE,
            Group::Pause => PAUSE,
            Group::Eee => EEE,
        }
    }

    /// Bytes of the request.
    pub(super) fn size(self) -> usize {
        match self {
            Group::Channels | Group::Rings => 36,
            Group::Coalesce => 92,
            Group::Pause => 16,
            Group::Eee => 40,
        }
    }

    pub(super) fn get_command(self) -> u32 {
        match self {
            Group::Channels => 0x3c,
            Group::Rings => 0x10,
            Group::Coalesce => 0x0e,
            Group::Pause => 0x12,
            Group::Eee => 0x44,
        }
    }

    pub(super) fn set_command(self) -> u32 {
        self.get_command() + 1
    }
}

const CHANNELS: &[Field] = &[
    told("rx-max", 1),
    told("tx-max", 2),
    told("combined-max", 4),
    set("rx", 5),
    set("tx", 6),
    set("combined", 8),
];

const RINGS: &[Field] = &[told("rx-max", 1), told("tx-max", 4), set("rx", 5), set("tx", 8)];

const COALESCE: &[Field] = &[
    set("rx-usecs", 1),
    set("rx-frames", 2),
    set("tx-usecs", 5),
    set("tx-frames", 6),
    set("adaptive-rx", 10),
    set("adaptive-tx", 11),
];

const PAUSE: &[Field] = &[set("autoneg", 1), set("rx", 2), set("tx", 3)];

const EEE: &[Field] = &[told("supported", 1), told("active", 4), set("enabled", 5)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_lies_inside_its_request_behind_the_command() {
        for group in Group::ALL {
            for field in group.fields() {
                assert!(field.word >= 1, "{field:?}");
                assert!(field.word * 4 + 4 <= group.size(), "{field:?}");
            }
        }
    }
}
