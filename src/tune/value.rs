//! What a value looks like, when two of them are the same, and what a hand-edited one may be.

use serde::Deserialize;

use super::cpus::{parse_list, parse_mask, show_list, show_mask};

/// The form of a knob's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A whole number.
    Number,
    /// Whole numbers apart by blanks, such as an RSS table or `udp_mem`.
    Numbers,
    /// `on` or `off`, as drivers' features are.
    Switch,
    /// CPUs as a mask.
    Mask,
    /// CPUs as a list.
    List,
    /// `none`, or interrupts as a list.
    Interrupts,
    /// A word, such as a governor or a queueing discipline.
    Word,
    /// Letters out of `sdfn`: the fields of a packet that are hashed.
    Fields,
    /// `absent`, or `queue N`.
    Queue,
    /// `absent`, or CPUs and `isolated`.
    Partition,
}

impl Form {
    /// The one way to write `text` in this form; `None` if it has another form.
    #[must_use]
    pub fn canonical(self, text: &str) -> Option<String> {
        let text = text.trim();
        let plain = |allowed: fn(char) -> bool| {
            (!text.is_empty() && text.chars().all(allowed)).then(|| text.to_owned())
        };
        match self {
            Form::Number => text.parse::<u64>().ok().map(|number| number.to_string()),
            Form::Numbers => {
                let numbers: Option<Vec<String>> =
                    text.split_whitespace().map(|item| Some(item.parse::<u64>().ok()?.to_string())).collect();
                numbers.filter(|numbers| !numbers.is_empty()).map(|numbers| numbers.join(" "))
            }
            Form::Switch => {
                let (word, more) = text.split_once(' ').unwrap_or((text, ""));
                let known = ["on", "off"].contains(&word)
                    && ["", "(requested on)", "(requested off)"].contains(&more);
                known.then(|| text.to_owned())
            }
            Form::Mask => parse_mask(text).map(|cpus| show_mask(&cpus)),
            Form::List => parse_list(text).map(|cpus| show_list(&cpus)),
            Form::Interrupts if text == "none" => Some(text.to_owned()),
            Form::Interrupts => parse_list(text).filter(|irqs| !irqs.is_empty()).map(|irqs| show_list(&irqs)),
            // "default mq" is a word that the kernel chose.
            Form::Word => plain(|c| c.is_ascii_alphanumeric() || "_-/. ".contains(c)),
            Form::Fields => plain(|c| "sdfn".contains(c)).or_else(|| text.is_empty().then(String::new)),
            Form::Queue => {
                let queue = text.strip_prefix("queue ").and_then(|queue| queue.parse::<u32>().ok());
                (text == "absent" || queue.is_some()).then(|| text.to_owned())
            }
            Form::Partition => {
                let cpus = text.strip_suffix(" isolated").and_then(parse_list);
                (text == "absent" || cpus.is_some()).then(|| text.to_owned())
            }
        }
    }

    /// True if both are the same value, whichever way they are written.
    #[must_use]
    pub fn same(self, left: &str, right: &str) -> bool {
        left.trim() == right.trim()
            || matches!((self.canonical(left), self.canonical(right)), (Some(left), Some(right)) if left == right)
    }
}

/// The chosen word of a file that shows all choices: `always [madvise] never`.
#[must_use]
pub fn chosen(text: &str) -> &str {
    let bracketed = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    bracketed.map_or(text, |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_value_is_the_same_however_it_is_written() {
        assert!(Form::Mask.same("00000000,00000003", "3"));
        assert!(Form::List.same("0,1", "0-1"));
        assert!(Form::Interrupts.same("61,62", "61-62") && !Form::Interrupts.same("none", "61"));
        assert!(Form::Numbers.same("4096\t131072\t6291456", "4096 131072 6291456"));
        assert!(!Form::Mask.same("3", "1"));
        assert!(!Form::Switch.same("off", "off (requested on)"), "undo tells them apart");
        assert!(!Form::Number.same("", "0"));
    }

    #[test]
    fn what_has_another_form_is_refused() {
        for (form, text) in [
            (Form::Number, "many"),
            (Form::Number, "-1"),
            (Form::Switch, "yes"),
            (Form::Mask, "xyz"),
            (Form::Interrupts, ""),
            (Form::Word, "a;b"),
            (Form::Word, "a\nb"),
            (Form::Fields, "sdx"),
            (Form::Queue, "queue"),
            (Form::Partition, "2-3 member"),
        ] {
            assert_eq!(form.canonical(text), None, "{form:?} {text:?}");
        }
    }

    #[test]
    fn the_choice_is_the_word_in_brackets() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen("performance"), "performance");
    }
}
