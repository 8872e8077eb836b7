//! A server that echoes and a client that calls it, both here.
//!
//! `cargo run --example echo`

use std::error::Error;

use ringwire::endpoint::Endpoint;

const ECHO: u32 = 1;

fn main() -> Result<(), Box<dyn Error>> {
    let server = Endpoint::builder()
        .bind("127.0.0.1:0".parse()?)
        .serve(|request, reply| reply.send(request.payload))
        .start()?;

    let client = Endpoint::builder().bind("127.0.0.1:0".parse()?).start()?;
    let peer = client.connect(server.local_addr()).wait()?;
    let reply = peer.call(ECHO, "hello, wire").wait().expect("the echo");

    println!("echo: {}", String::from_utf8_lossy(&reply));
    Ok(())
}
