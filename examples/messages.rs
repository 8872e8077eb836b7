//! One-way messages in order on two channels, a datagram beside them, and their end.
//!
//! `cargo run --example messages`

use std::error::Error;

use ringwire::endpoint::Endpoint;
use ringwire::wire::ChannelId;

const CHANNELS: u32 = 2;
const MESSAGES: u32 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let receiver = Endpoint::builder().bind("127.0.0.1:0".parse()?).start()?;
    let sender = Endpoint::builder().bind("127.0.0.1:0".parse()?).start()?;
    let peer = sender.connect(receiver.local_addr()).wait()?;

    let sending = std::thread::spawn(move || {
        for number in 0..MESSAGES {
            for channel in 0..CHANNELS {
                // Resolves once the session has taken the message: from then on it is delivered exactly
                // once, or the session's failure names it.
                peer.send(Some(ChannelId(channel)), number.to_le_bytes().to_vec()).wait()?;
            }
        }
        // This one may be lost; on loopback it hardly ever is.
        let datagram = peer.datagram("and a datagram");
        peer.close(0);
        peer.closed().wait();
        datagram.map_err(|error| error.to_string()).expect("room for one datagram");
        Ok::<(), ringwire::transport::SendError>(())
    });

    let mut next = [0u32; CHANNELS as usize];
    let mut datagrams = 0;
    let messages = receiver.messages();
    while next.iter().any(|next| *next < MESSAGES) {
        let message = messages.next().wait().ok_or("the endpoint ended early")?;
        let Some(channel) = message.channel else {
            datagrams += usize::from(message.is_datagram);
            continue;
        };
        let number = u32::from_le_bytes(message.payload[..].try_into()?);
        let expected = &mut next[channel.0 as usize];
        assert_eq!(number, *expected, "each channel is in order");
        *expected += 1;
    }
    sending.join().expect("the sender's thread does not panic")?;

    println!("messages: {} received, in order on each of {CHANNELS} channels", MESSAGES * CHANNELS);
    while let Some(message) = messages.try_next() {
        datagrams += usize::from(message.is_datagram);
    }
    println!("messages: {datagrams} datagram so far, of 1 sent");
    Ok(())
}
