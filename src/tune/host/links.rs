//! What the kernel tells of a link over rtnetlink: also where /sys is read-only or shows another network
//! namespace. Numbers: include/uapi/linux/if_link.h of Linux.

use std::io;

use netlink_bindings::utils::find_attr;
use netlink_socket2::NetlinkSocket;

use super::attributes::{Message, number, text};

/// One value of a link.
struct Field {
    name: &'static str,
    attribute: u16,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A number that can be set.
    Settable,
    /// A number.
    Number,
    /// A greatest value.
    Limit,
    /// What RFC 2863 calls its operational status.
    Status,
    /// The kind of a virtual device, such as `veth`.
    Kind,
    /// How an XDP program is attached.
    Xdp,
}

const fn field(name: &'static str, attribute: u16, form: Form) -> Field {
    Field { name, attribute, form }
}

const FIELDS: &[Field] = &[
    field("mtu", 4, Form::Settable),
    field("tx-queue-len", 13, Form::Settable),
    field("status", 16, Form::Status),
    field("kind", 18, Form::Kind),
    field("tx-queues", 31, Form::Number),
    field("rx-queues", 32, Form::Number),
    field("gso-max-size", 41, Form::Number),
    field("xdp", 43, Form::Xdp),
    field("mtu-min", 50, Form::Number),
    field("mtu-max", 51, Form::Limit),
    field("gro-max-size", 58, Form::Number),
];

/// One value of the link with `index`.
pub(super) fn read(socket: &mut NetlinkSocket, index: i32, name: &str) -> io::Result<String> {
    let field = FIELDS.iter().find(|field| field.name == name).ok_or_else(absent)?;
    let answer = ask(socket, index)?;
    show(field, &answer).ok_or_else(absent)
}

/// The names of what the kernel tells of the link.
pub(super) fn names(socket: &mut NetlinkSocket, index: i32) -> io::Result<Vec<String>> {
    let answer = ask(socket, index)?;
    let there = FIELDS.iter().filter(|field| show(field, &answer).is_some());
    Ok(there.map(|field| field.name.to_owned()).collect())
}

/// Sets one value of the link.
pub(super) fn write(socket: &mut NetlinkSocket, index: i32, name: &str, value: &str) -> io::Result<()> {
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
    let field = FIELDS.iter().find(|field| field.name == name && field.form == Form::Settable);
    let field = field.ok_or_else(invalid)?;
    let mut message = Message::link(SET_LINK, index);
    message.put_u32(field.attribute, value.parse().map_err(|_| invalid())?);
    Ok(message.tell(socket)?)
}

fn ask(socket: &mut NetlinkSocket, index: i32) -> io::Result<Vec<u8>> {
    let mut message = Message::link(GET_LINK, index);
    message.put_u32(EXTENDED_MASK, SKIP_STATISTICS);
    Ok(message.ask(socket)?)
}

fn show(field: &Field, answer: &[u8]) -> Option<String> {
    match field.form {
        Form::Settable | Form::Number => number(answer, field.attribute).map(|value| value.to_string()),
        Form::Limit => {
            // A driver that sets none gives 0.
            number(answer, field.attribute).filter(|limit| *limit > 0).map(|limit| limit.to_string())
        }
        Form::Status => {
            let status = number(answer, field.attribute)? as usize;
            STATUS.get(status).map(|word| (*word).to_owned())
        }
        Form::Kind => text(find_attr(answer, field.attribute)?, KIND),
        Form::Xdp => {
            let attached = number(find_attr(answer, field.attribute)?, ATTACHED)? as usize;
            XDP.get(attached).map(|word| (*word).to_owned())
        }
    }
}

fn absent() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}

const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const EXTENDED_MASK: u16 = 29;
const SKIP_STATISTICS: u32 = 1 << 3;
/// IFLA_INFO_KIND and IFLA_XDP_ATTACHED, inside their attributes.
const KIND: u16 = 1;
const ATTACHED: u16 = 2;
const STATUS: [&str; 7] = ["unknown", "not-present", "down", "lower-layer-down", "testing", "dormant", "up"];
const XDP: [&str; 5] = ["none", "driver", "generic", "hardware", "several"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_told_as_sysfs_shows_it() {
        let mut socket = NetlinkSocket::new();
        let index = i32::try_from(nix::net::if_::if_nametoindex("lo").expect("it is there")).expect("small");
        let mtu = std::fs::read_to_string("/sys/class/net/lo/mtu").expect("sysfs shows it");
        assert_eq!(read(&mut socket, index, "mtu").expect("told"), mtu.trim());
        assert_eq!(read(&mut socket, index, "xdp").expect("told"), "none");
        let names = names(&mut socket, index).expect("told");
        assert!(names.iter().any(|name| name == "tx-queue-len") && !names.iter().any(|name| name == "kind"));
        assert!(
            write(&mut socket, index, "kind", "1").is_err() && write(&mut socket, index, "mtu", "x").is_err()
        );
    }
}
