//! Both ends of the Noise handshake against each other, against forgers, and against a published vector.

use data_encoding::HEXLOWER;

use super::*;
use crate::crypto::Csprng;

fn identity(seed: u8) -> Identity {
    Identity::generate(&mut Csprng::new([seed; 32]))
}

fn end(seed: u8) -> NoiseHandshake {
    NoiseHandshake::new(identity(seed), None)
}

fn with_psk(seed: u8, psk: u8) -> NoiseHandshake {
    NoiseHandshake::new(identity(seed), Some(PresharedKey::new([psk; 32])))
}

fn shake(
    client: &NoiseHandshake,
    server: &NoiseHandshake,
) -> Result<(Finished, Answered, Opened), HandshakeError> {
    let key = server.public_key().unwrap();
    let (mut initiator, blob) = client.initiate(Some(&key), b"prologue", b"hello", [1; 32])?;
    let opened = server.open(b"prologue", &blob, [2; 32])?;
    let Opened { responder, payload, peer } = opened;
    let answered = responder.answer(b"accept", b"welcome")?;
    let finished = initiator.finish(b"accept", &answered.blob)?;
    let nobody = server.open(b"prologue", &blob, [2; 32])?.responder;
    Ok((finished, answered, Opened { responder: nobody, payload, peer }))
}

#[test]
fn both_ends_agree_and_know_each_other() {
    for (client, server) in [(end(1), end(2)), (with_psk(1, 9), with_psk(2, 9))] {
        let (finished, answered, opened) = shake(&client, &server).unwrap();
        assert_eq!(finished.keys, answered.keys);
        assert_ne!(finished.keys.client_to_server, finished.keys.server_to_client);
        assert_eq!((opened.payload.as_slice(), opened.peer), (b"hello".as_slice(), client.public_key()));
        assert_eq!(finished.payload, b"welcome");
    }
}

#[test]
fn a_server_with_another_key_or_another_psk_says_nothing() {
    let (client, server, other) = (end(1), end(2), end(3));
    let (_, blob) = client.initiate(server.public_key().as_ref(), b"p", b"", [1; 32]).unwrap();
    assert_eq!(other.open(b"p", &blob, [2; 32]).unwrap_err(), HandshakeError::Unproven);
    assert_eq!(shake(&with_psk(1, 9), &with_psk(2, 8)).unwrap_err(), HandshakeError::Unproven);
    assert_eq!(shake(&with_psk(1, 9), &end(2)).unwrap_err(), HandshakeError::Unproven);
    assert_eq!(client.initiate(None, b"p", b"", [1; 32]).unwrap_err(), HandshakeError::NoServerKey);
}

#[test]
fn a_prologue_or_an_accept_that_differs_by_a_bit_ends_the_handshake() {
    let (client, server) = (end(1), end(2));
    let (mut initiator, blob) =
        client.initiate(server.public_key().as_ref(), b"prologue", b"", [1; 32]).unwrap();
    assert_eq!(server.open(b"prologuf", &blob, [2; 32]).unwrap_err(), HandshakeError::Unproven);
    let answered =
        server.open(b"prologue", &blob, [2; 32]).unwrap().responder.answer(b"accept", b"").unwrap();
    assert_eq!(initiator.finish(b"accepu", &answered.blob).unwrap_err(), HandshakeError::Unproven);
}

#[test]
fn any_bit_flipped_in_either_message_is_refused_and_the_true_answer_still_taken() {
    let (client, server) = (end(1), end(2));
    let (mut initiator, blob) = client.initiate(server.public_key().as_ref(), b"p", b"x", [1; 32]).unwrap();
    for bit in 0..blob.len() * 8 {
        let mut changed = blob.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        // X25519 masks the top bit of a public key (RFC 7748 §5); the transcript hash still holds it.
        assert!(server.open(b"p", &changed, [2; 32]).is_err(), "bit {bit}");
    }
    let answered = server.open(b"p", &blob, [2; 32]).unwrap().responder.answer(b"a", b"").unwrap();
    for bit in 0..answered.blob.len() * 8 {
        let mut changed = answered.blob.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(initiator.finish(b"a", &changed).is_err(), "bit {bit}");
    }
    for size in 0..answered.blob.len() {
        assert!(initiator.finish(b"a", &answered.blob[..size]).is_err(), "{size} bytes");
    }
    assert_eq!(initiator.finish(b"a", &answered.blob).unwrap().keys, answered.keys);
    assert!(initiator.finish(b"a", &answered.blob).is_err(), "a handshake ends once");
}

/// The vector of cacophony, the reference the Noise project names, for this protocol: an X25519 key,
/// hash or cipher wired wrongly would still agree with itself.
#[test]
fn the_messages_are_those_of_the_published_vector() {
    let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
    let key = |text: &str| -> [u8; 32] { hex(text).try_into().unwrap() };
    let from = |private: &str| NoiseHandshake::new(Identity::from_private_for_tests(key(private)), None);
    let client = from("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1");
    let server = from("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893");
    let prologue = hex("4a6f686e2047616c74");
    let hello = hex("4c756477696720766f6e204d69736573");
    let (mut initiator, blob) = client
        .initiate(
            server.public_key().as_ref(),
            &prologue,
            &hello,
            key("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a"),
        )
        .unwrap();
    assert_eq!(
        HEXLOWER.encode(&blob),
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79440b03ddc7aac5123d06a1b23b71670e32\
         e76c28239a7ca4ac8f784de7e44c1adbfc6e83fef7352a58d9d56157400c0a737b1d171ce368229c7b752ac25b8faf4e\
         ca690f6d896f543be02c996ab2b86b76"
    );
    let entropy = key("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b");
    let opened = server.open(&prologue, &blob, entropy).unwrap();
    assert_eq!(opened.payload, hello);
    let answered = opened.responder.answer(&hex("4d757272617920526f746862617264"), b"").unwrap();
    assert_eq!(
        HEXLOWER.encode(&answered.blob),
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843d9b5a8927f0ac9655ef76833bc7e5561\
         f42e691ac8404efd6fbd6308b6a27c"
    );
    assert!(initiator.finish(&hex("4d757272617920526f746862617264"), &answered.blob).is_ok());
}
