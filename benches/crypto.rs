//! How long sealing and opening one packet takes, with each suite.
//!
//! Expected of `insecure`: the checksum is the whole cost, and the CPU's generation decides it. The crate
//! runs the CRC32 instruction beside carry-less folding of 128 bits, or of 512 where the CPU has AVX-512;
//! where it multiplies 256 bits and not 512, folding alone is ahead (`crypto/crc32c.rs`). Zen 1 starts a
//! CRC32 every three cycles and a 128-bit multiply every two, which bounds any mix of them near 16 GB/s at
//! 2.4 GHz; from Zen 2 on both start every cycle or better, and 20 GB/s are within reach from a few KiB on.
//!
//! Measured on a Zen 1 guest with two busy cores, best of 20,000, checksum alone: 2.1 GB/s at 48 bytes,
//! 5.3 at 1,384, 6.9 at 8,884, 7.3 at 16,368. The `crc32c` crate, side by side: 1.4, 5.4, 5.1, 5.1.
//! On a Zen 3 guest, medians of nine, by name, by folding, and that crate: 1,024 bytes 9.9, 15.8 and 14.4
//! GB/s; 13,108 bytes 15.8, 24.0 and 18.2; 112 bytes 10.0, 2.8 and 6.2.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringwire::crypto::{Csprng, Handshake, Identity, Keys, NoiseHandshake, Protector, Role, Secret, Suite};

const SUITES: [(&str, Suite); 3] = [
    ("insecure", Suite::Insecure),
    ("aes128gcm", Suite::Aes128Gcm),
    ("chacha20poly1305", Suite::ChaCha20Poly1305),
];

fn protection(criterion: &mut Criterion) {
    let keys = Keys { client_to_server: Secret([1; 32]), server_to_client: Secret([2; 32]) };
    for (name, suite) in SUITES {
        let mut group = criterion.benchmark_group(name);
        for size in [64usize, 256, 1_400, 8_900, 16_384] {
            let mut client = Protector::new(suite, &keys, Role::Client);
            let mut server = Protector::new(suite, &keys, Role::Server);
            let mut packet = vec![0x5a; size];
            packet[1] = 0;
            let mut number = 0u64;
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new("seal", size), |bencher| {
                bencher.iter(|| {
                    number += 1;
                    packet[12..16].copy_from_slice(&(number as u32).to_le_bytes());
                    client.seal(black_box(&mut packet));
                });
            });
            client.seal({
                packet[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
                &mut packet
            });
            // Opening is in place: each time from a copy, whose cost is part of the figure.
            let mut copy = packet.clone();
            group.bench_function(BenchmarkId::new("copy and open", size), |bencher| {
                bencher.iter(|| {
                    copy.copy_from_slice(&packet);
                    server.open(black_box(&mut copy)).expect("it was sealed above");
                });
            });
        }
        group.finish();
    }
}

fn handshake(criterion: &mut Criterion) {
    let end = |seed| NoiseHandshake::new(Identity::generate(&mut Csprng::new([seed; 32])), None);
    let (client, server) = (end(1), end(2));
    let key = server.public_key();
    criterion.bench_function("noise handshake, both ends", |bencher| {
        bencher.iter(|| {
            let begun = client.initiate(key.as_ref(), b"prologue", b"stamp and token", [3; 32]);
            let (mut initiator, blob) = begun.expect("the server is known");
            let opened = server.open(b"prologue", &blob, [4; 32]).expect("it is for us");
            let answered = opened.responder.answer(b"accept", b"token").expect("nothing is in the way");
            initiator.finish(b"accept", &answered.blob).expect("it is the server's").keys
        });
    });
}

criterion_group!(benches, protection, handshake);
criterion_main!(benches);
