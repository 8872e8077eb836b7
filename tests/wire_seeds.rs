//! The committed seeds of the fuzz targets, run through the very functions the targets call, so that
//! what fuzzing once found stays found where no fuzzer is installed. The seeds that are golden vectors
//! are held to `tests/vectors/wire.txt`; with `RINGWIRE_BLESS=1` this test writes them. A crash found by
//! the fuzzer is committed beside them under a name of its own, and replayed here as they are.

mod wire_support;

use std::fs;
use std::path::PathBuf;

use ringwire::testing::said::said;
use ringwire::testing::scripted::{acked, peers, pieces};
use ringwire::wire::check;
use wire_support::{root, vectors};

type Check = fn(&[u8]) -> usize;

const TARGETS: [(&str, Check); 10] = [
    ("header", check::header),
    ("frames", check::frames),
    ("records", check::records),
    ("ack", check::ack),
    ("handshake", check::handshake),
    ("sealed", said),
    ("durable", check::durable),
    ("pieces", pieces),
    ("acked", acked),
    ("peers", peers),
];

#[test]
fn every_golden_vector_is_a_seed_of_its_target() {
    for vector in vectors() {
        let name = format!("{}-{}", vector.decoder, vector.name);
        is_seed(target_of(&vector.decoder, &vector.name), &name, &vector.bytes);
        if vector.decoder == "frames" {
            // One packet that says these frames, and a second after 30 us.
            let head = (2 << 11 | vector.bytes.len() as u16).to_le_bytes();
            let twice = [head.as_slice(), &vector.bytes, &head, &vector.bytes].concat();
            is_seed("sealed", &name, &twice);
        }
    }
}

fn is_seed(target: &str, name: &str, bytes: &[u8]) {
    let path = seeds(target).join(name);
    if std::env::var_os("RINGWIRE_BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("a seed lies in its target's folder")).expect("writable");
        fs::write(&path, bytes).expect("writable");
    }
    let seed = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(seed, bytes, "{}: run with RINGWIRE_BLESS=1", path.display());
}

#[test]
fn every_seed_passes_its_target_and_every_target_decodes_some_of_its_seeds() {
    for (target, check) in TARGETS {
        let entries = fs::read_dir(seeds(target)).expect("each target has committed seeds");
        let decoded: usize =
            entries.map(|entry| check(&fs::read(entry.expect("readable").path()).expect("readable"))).sum();
        assert!(decoded > 0, "no seed of {target} decodes: the target would test refusals alone");
    }
}

#[test]
fn every_target_of_the_fuzz_manifest_is_replayed_here() {
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).expect("fuzz has its own manifest");
    for (target, _) in TARGETS {
        let source = root().join(format!("fuzz/fuzz_targets/{target}.rs"));
        assert!(source.is_file(), "{} is missing", source.display());
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is not in fuzz/Cargo.toml");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len(), "a target is not replayed here");
}

fn target_of(decoder: &str, name: &str) -> &'static str {
    match decoder {
        "header" => "header",
        "frames" if name.starts_with("ack-") => "ack",
        "frames" => "frames",
        "records" => "records",
        "durable" | "lease_grant" => "durable",
        _ => "handshake",
    }
}

fn seeds(target: &str) -> PathBuf {
    root().join("fuzz/seeds").join(target)
}
