//! The bytes of the protocol, spelled out by hand in `tests/vectors/wire.txt` and not made by the
//! encoders under test: each decodes to what the file says, and what decodes encodes to the same bytes.

mod wire_support;

use std::fmt::Debug;

use ringwire::wire::{
    Accept, CookieReply, DecodeError, DurableRequest, Frames, Header, Init, LeaseGrant, Records, Refuse,
    Reset, ServerKey, VersionHint, check,
};
use wire_support::vectors;

#[test]
fn every_vector_decodes_to_what_the_file_says() {
    for vector in vectors() {
        let bytes = vector.bytes.as_slice();
        let decoded = match vector.decoder.as_str() {
            "header" => one(Header::decode(bytes)),
            "frames" => Frames::new(bytes).map(line).collect(),
            "records" => Records::new(bytes).map(line).collect(),
            "init" => one(Init::decode(bytes)),
            "cookie" => one(CookieReply::decode(bytes)),
            "accept" => one(Accept::decode(bytes)),
            "refuse" => one(Refuse::decode(bytes)),
            "version_hint" => one(VersionHint::decode(bytes)),
            "reset" => one(Reset::decode(bytes)),
            "server_key" => one(ServerKey::decode(bytes)),
            "durable" => one(DurableRequest::decode(bytes)),
            "lease_grant" => one(LeaseGrant::decode(bytes)),
            other => panic!("no decoder is called {other}"),
        };
        assert_eq!(decoded, vector.expected, "{} {}", vector.decoder, vector.name);
    }
}

#[test]
fn every_vector_that_decodes_encodes_to_the_same_bytes() {
    for vector in vectors() {
        let counted = run_check(&vector.decoder, &vector.bytes);
        let valid = vector.expected.iter().filter(|line| !line.starts_with('!')).count();
        // Not the other way round for handshake bodies: any 16 bytes are a RESET.
        assert!(counted > 0 || valid == 0, "{} {}", vector.decoder, vector.name);
    }
}

#[test]
fn every_prefix_and_every_changed_byte_of_a_vector_decodes_without_panic() {
    for vector in vectors() {
        for end in 0..vector.bytes.len() {
            run_check(&vector.decoder, &vector.bytes[..end]);
        }
        let mut bytes = vector.bytes.clone();
        for at in 0..bytes.len() {
            // The zeros that pad an INIT behave alike: every 64th of them is enough.
            if at > 200 && at % 64 != 0 {
                continue;
            }
            let original = bytes[at];
            for value in 0..=255 {
                bytes[at] = value;
                run_check(&vector.decoder, &bytes);
            }
            bytes[at] = original;
        }
    }
}

#[test]
fn every_frame_kind_of_the_protocol_has_a_vector() {
    let vectors = vectors();
    let frames = [
        "Ping",
        "AckRequest",
        "Ack(",
        "Credit ",
        "Blocked ",
        "Grant ",
        "Close ",
        "LaneRequest ",
        "LaneGrant ",
        "Stats(",
        "Messages(",
        "Fragment(",
        "Part(",
        "PathChallenge ",
        "PathResponse ",
        "Datagram ",
    ];
    for frame in frames {
        let shown = |line: &String| line.starts_with(frame);
        assert!(vectors.iter().any(|v| v.expected.iter().any(shown)), "{frame} has no vector");
    }
    for decoder in [
        "header",
        "records",
        "init",
        "cookie",
        "accept",
        "refuse",
        "version_hint",
        "reset",
        "server_key",
        "durable",
        "lease_grant",
    ] {
        assert!(vectors.iter().any(|v| v.decoder == decoder), "{decoder} has no vector");
    }
}

fn run_check(decoder: &str, bytes: &[u8]) -> usize {
    match decoder {
        "header" => check::header(bytes),
        "frames" => check::frames(bytes) + check::ack(bytes),
        "records" => check::records(bytes),
        "durable" | "lease_grant" => check::durable(bytes),
        _ => check::handshake(bytes),
    }
}

fn one<T: Debug>(result: Result<T, DecodeError>) -> Vec<String> {
    vec![line(result)]
}

fn line<T: Debug>(result: Result<T, DecodeError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("! {error}"),
    }
}
