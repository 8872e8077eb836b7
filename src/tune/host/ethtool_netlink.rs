//! What a NIC's driver says over generic netlink (family `ethtool`, Linux 5.6 and later): only this way come
//! push modes, buffer lengths and completion queues, and a driver that does not have a field leaves it out,
//! where the ioctl shows 0 (push modes alone are always there). Kernels and sandboxes without the family are
//! asked by ioctl (`sys::ethtool`). Numbers: Documentation/netlink/specs/ethtool.yaml of Linux.

use std::io;

use netlink_bindings::utils::find_attr;
use netlink_socket2::NetlinkSocket;

use super::attributes::{AskError, Message, each, number, text};
use crate::sys::ethtool::Feature;

/// A group of numbers with the commands that get and set it.
struct Group {
    name: &'static str,
    get: u8,
    set: u8,
    fields: &'static [Field],
}

/// One number of a group.
struct Field {
    name: &'static str,
    attribute: u16,
    width: Width,
    /// What its absence from an answer means.
    left_out: LeftOut,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    /// A byte that can be set.
    U8,
    /// Four bytes that can be set.
    U32,
    /// A maximum or a state.
    ReadOnly,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LeftOut {
    /// There are none: the kernel leaves counts out whose maximum is 0.
    None,
    /// The driver does not have it.
    Absent,
}

const fn count(name: &'static str, attribute: u16, width: Width) -> Field {
    Field { name, attribute, width, left_out: LeftOut::None }
}

const fn field(name: &'static str, attribute: u16, width: Width) -> Field {
    Field { name, attribute, width, left_out: LeftOut::Absent }
}

const GROUPS: &[Group] = &[
    Group {
        name: "rings",
        get: 15,
        set: 16,
        fields: &[
            count("rx-max", 2, Width::ReadOnly),
            count("tx-max", 5, Width::ReadOnly),
            count("rx", 6, Width::U32),
            count("tx", 9, Width::U32),
            field("rx-buf-len", 10, Width::U32),
            field("tcp-data-split", 11, Width::U8),
            field("cqe-size", 12, Width::U32),
            field("tx-push", 13, Width::U8),
            field("rx-push", 14, Width::U8),
            field("tx-push-buf-len", 15, Width::U32),
            field("tx-push-buf-len-max", 16, Width::ReadOnly),
        ],
    },
    Group {
        name: "channels",
        get: 17,
        set: 18,
        fields: &[
            count("rx-max", 2, Width::ReadOnly),
            count("tx-max", 3, Width::ReadOnly),
            count("combined-max", 5, Width::ReadOnly),
            count("rx", 6, Width::U32),
            count("tx", 7, Width::U32),
            count("combined", 9, Width::U32),
        ],
    },
    Group {
        name: "coalesce",
        get: 19,
        set: 20,
        fields: &[
            field("rx-usecs", 2, Width::U32),
            field("rx-frames", 3, Width::U32),
            field("tx-usecs", 6, Width::U32),
            field("tx-frames", 7, Width::U32),
            field("adaptive-rx", 11, Width::U8),
            field("adaptive-tx", 12, Width::U8),
            field("cqe-mode-tx", 24, Width::U8),
            field("cqe-mode-rx", 25, Width::U8),
            field("tx-aggr-max-bytes", 26, Width::U32),
            field("tx-aggr-max-frames", 27, Width::U32),
            field("tx-aggr-time-usecs", 28, Width::U32),
        ],
    },
    Group {
        name: "pause",
        get: 21,
        set: 22,
        fields: &[field("autoneg", 2, Width::U8), field("rx", 3, Width::U8), field("tx", 4, Width::U8)],
    },
    Group {
        name: "eee",
        get: 23,
        set: 24,
        fields: &[field("active", 4, Width::ReadOnly), field("enabled", 5, Width::U8)],
    },
];

fn known(group: &str, name: &str) -> Option<(&'static Group, &'static Field)> {
    let group = GROUPS.iter().find(|known| known.name == group)?;
    Some((group, group.fields.iter().find(|field| field.name == name)?))
}

/// One number of `nic`; `None` where the ioctl must be asked.
pub(super) fn read(
    socket: &mut NetlinkSocket,
    index: u32,
    group: &str,
    name: &str,
) -> io::Result<Option<u32>> {
    let Some((group, field)) = known(group, name) else { return Ok(None) };
    let Some(answer) = answered(request(group.get, index, 0).ask(socket))? else { return Ok(None) };
    match (number(&answer, field.attribute), field.left_out) {
        (Some(value), _) => Ok(Some(value)),
        (None, LeftOut::None) => Ok(Some(0)),
        (None, LeftOut::Absent) => Err(io::Error::from_raw_os_error(libc::ENOENT)),
    }
}

/// The names of `group` that this driver has; `None` where the ioctl must be asked.
pub(super) fn names(
    socket: &mut NetlinkSocket,
    index: u32,
    group: &str,
) -> io::Result<Option<Vec<&'static str>>> {
    let Some(group) = GROUPS.iter().find(|known| known.name == group) else { return Ok(None) };
    let Some(answer) = answered(request(group.get, index, 0).ask(socket))? else { return Ok(None) };
    let there =
        |field: &&Field| field.left_out == LeftOut::None || find_attr(&answer, field.attribute).is_some();
    Ok(Some(group.fields.iter().filter(there).map(|field| field.name).collect()))
}

/// Sets one number of `nic` and nothing beside it; `None` where the ioctl must be told.
pub(super) fn write(
    socket: &mut NetlinkSocket,
    index: u32,
    group: &str,
    name: &str,
    value: u32,
) -> io::Result<Option<()>> {
    let Some((group, field)) = known(group, name) else { return Ok(None) };
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
    let mut message = request(group.set, index, 0);
    match field.width {
        Width::U8 => message.put_u8(field.attribute, u8::try_from(value).map_err(|_| invalid())?),
        Width::U32 => message.put_u32(field.attribute, value),
        Width::ReadOnly => return Err(invalid()),
    }
    answered(message.tell(socket))
}

/// The switches of `nic`, in the kernel's order; `None` where the ioctl must be asked.
pub(super) fn features(socket: &mut NetlinkSocket, index: u32) -> io::Result<Option<Vec<Feature>>> {
    let Some(names) = feature_names(socket)? else { return Ok(None) };
    let Some(answer) = answered(request(FEATURES_GET, index, COMPACT).ask(socket))? else { return Ok(None) };
    let set = |kind: u16| -> Vec<u8> {
        let bits = find_attr(&answer, kind).and_then(|bitset| find_attr(bitset, BITSET_VALUE));
        bits.unwrap_or_default().to_vec()
    };
    let [hardware, wanted, active, never] = [set(2), set(3), set(4), set(5)];
    let features = names.into_iter().enumerate().filter(|(_, name)| !name.is_empty());
    let features = features.map(|(at, name)| Feature {
        name,
        active: bit(&active, at),
        requested: bit(&wanted, at),
        fixed: !bit(&hardware, at) || bit(&never, at),
    });
    Ok(Some(features.collect()))
}

/// Asks for one switch to be on or off; `None` where the ioctl must be told.
pub(super) fn set_feature(
    socket: &mut NetlinkSocket,
    index: u32,
    name: &str,
    on: bool,
) -> io::Result<Option<()>> {
    let mut message = request(FEATURES_SET, index, OMIT_REPLY);
    message.nest(FEATURES_WANTED, |bitset| {
        bitset.nest(BITSET_BITS, |bits| {
            bits.nest(BIT, |one| {
                one.put_bytes(BIT_NAME, &[name.as_bytes(), &[0]].concat());
                if on {
                    one.put_bytes(BIT_VALUE, &[]);
                }
            });
        });
    });
    answered(message.tell(socket))
}

fn feature_names(socket: &mut NetlinkSocket) -> io::Result<Option<Vec<String>>> {
    let mut message = Message::generic(FAMILY, STRINGS_GET);
    message.nest(HEADER, |_| ());
    message.nest(STRING_SETS, |sets| sets.nest(1, |set| set.put_u32(1, SET_FEATURES)));
    let Some(answer) = answered(message.ask(socket))? else { return Ok(None) };
    let inside = |outer: &[u8], kind: u16| find_attr(outer, kind).map(<[u8]>::to_vec).unwrap_or_default();
    let set = inside(&inside(&answer, STRING_SETS), 1);
    let mut names = Vec::new();
    for (_, string) in each(&inside(&set, 3)) {
        let (Some(at), Some(name)) = (number(string, 1), text(string, 2)) else { continue };
        let at = (at as usize).min(FEATURES_MAX);
        if names.len() <= at {
            names.resize(at + 1, String::new());
        }
        names[at] = name;
    }
    Ok(Some(names))
}

/// A request about one NIC.
fn request(command: u8, index: u32, flags: u32) -> Message {
    let mut message = Message::generic(FAMILY, command);
    message.nest(HEADER, |header| {
        header.put_u32(1, index);
        if flags != 0 {
            header.put_u32(3, flags);
        }
    });
    message
}

/// `None` where there is no such family.
fn answered<T>(answer: Result<T, AskError>) -> io::Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(AskError::NoFamily(_)) => Ok(None),
        Err(AskError::Refused(error)) => Err(error),
    }
}

/// Bits are counted from the lowest of words of 32, in the host's byte order.
fn bit(words: &[u8], at: usize) -> bool {
    let word = words.get(at / 32 * 4..at / 32 * 4 + 4);
    let word = word.map(|bytes| u32::from_ne_bytes(bytes.try_into().expect("four bytes were taken")));
    word.is_some_and(|word| word & (1 << (at % 32)) != 0)
}

const FAMILY: &[u8] = b"ethtool";
const HEADER: u16 = 1;
/// Header flags: bitsets as bits, and no answer to a change.
const COMPACT: u32 = 1;
const OMIT_REPLY: u32 = 2;
const STRINGS_GET: u8 = 1;
const STRING_SETS: u16 = 2;
/// ETH_SS_FEATURES.
const SET_FEATURES: u32 = 4;
const FEATURES_GET: u8 = 11;
const FEATURES_SET: u8 = 12;
const FEATURES_WANTED: u16 = 3;
const BITSET_BITS: u16 = 3;
const BITSET_VALUE: u16 = 4;
const BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;
/// The kernel has 64 bits of features.
const FEATURES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use nix::net::if_::if_nameindex;

    use super::*;
    use crate::sys::ethtool::{Ethtool, Group as Words};

    /// Whatever NICs this host has: both ways must tell the same of what both know.
    #[test]
    fn netlink_and_ioctl_tell_the_same_of_every_nic_here() {
        let (mut socket, ethtool) = (NetlinkSocket::new(), Ethtool::open().expect("sockets are allowed"));
        let mut compared = 0;
        for nic in &if_nameindex().expect("there are NICs") {
            let name = nic.name().to_str().expect("plain");
            let Ok(Some(features)) = features(&mut socket, nic.index()) else {
                println!("{name} is not compared: this kernel has no ethtool over netlink");
                continue;
            };
            assert_eq!(features, ethtool.features(name).expect("every device has features"), "{name}");
            for group in Words::ALL {
                let Ok(words) = ethtool.group(name, group) else { continue };
                for (field, word) in group.fields().iter().zip(words) {
                    let read = read(&mut socket, nic.index(), group.name(), field.name);
                    // What the driver does not have reads 0 by ioctl.
                    let read = read.map_or(Some(0), |read| read);
                    assert!(read.is_none_or(|read| read == word), "{name} {field:?}: {read:?} {word}");
                    compared += usize::from(read.is_some());
                }
            }
            compared += features.len();
        }
        println!("{compared} values compared");
    }

    #[test]
    fn a_group_that_a_driver_does_not_have_is_unsupported_and_a_nic_that_is_gone_is_no_device() {
        let mut socket = NetlinkSocket::new();
        let code = |error: io::Error| super::super::attributes::number_of(&error);
        match read(&mut socket, 1, "rings", "rx") {
            // lo has no rings.
            Err(error) => assert_eq!(code(error), Some(libc::EOPNOTSUPP)),
            Ok(answer) => assert_eq!(answer, None, "only a kernel without the family leaves it to the ioctl"),
        }
        match read(&mut socket, 0x7fff_0000, "rings", "rx") {
            Err(error) => assert_eq!(code(error), Some(libc::ENODEV)),
            Ok(answer) => assert_eq!(answer, None),
        }
        assert_eq!(read(&mut socket, 1, "rings", "no-such").expect("no question"), None);
    }

    #[test]
    fn no_two_fields_of_a_group_are_one_attribute() {
        for group in GROUPS {
            for field in group.fields {
                let same = group.fields.iter().filter(|other| other.attribute == field.attribute);
                assert_eq!(same.count(), 1, "{} {}", group.name, field.name);
                assert!(field.attribute > HEADER && group.set == group.get + 1);
            }
        }
    }
}
