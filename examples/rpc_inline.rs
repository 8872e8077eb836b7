//! Methods by name, answered in place on the worker that received the call.
//!
//! `cargo run --example rpc_inline`

use std::error::Error;
use std::time::Duration;

use ringwire::endpoint::{Endpoint, Outcome};
use ringwire::rpc::{Router, method_id, status};

const SUM: u32 = method_id("Math/Sum");
const FAIL: u32 = method_id("Math/Divide");
const NOBODY: u32 = method_id("Math/Integrate");
/// The application's own codes start here.
const DIVIDED_BY_ZERO: u8 = status::APPLICATION;

fn main() -> Result<(), Box<dyn Error>> {
    let server = Endpoint::builder().bind("127.0.0.1:0".parse()?).handler(|_worker| {
        Router::new()
            .serve("Math/Sum", |request, reply| {
                let sum: u64 = request.payload.iter().map(|byte| u64::from(*byte)).sum();
                // Written straight into the packet that the reply leaves in.
                reply.send_with(8, |place| place.copy_from_slice(&sum.to_le_bytes()));
            })
            .serve("Math/Divide", |request, reply| match *request.payload {
                [a, b] if b != 0 => reply.send(&[a / b]),
                _ => reply.fail(DIVIDED_BY_ZERO, b"cannot divide by zero"),
            })
    });
    let server = server.start()?;
    let client = Endpoint::builder().bind("127.0.0.1:0".parse()?).start()?;
    let peer = client.connect(server.local_addr()).wait()?;

    let sum = peer.call(SUM, vec![1, 2, 3, 4]).wait().expect("a sum");
    println!("rpc_inline: the sum is {}", u64::from_le_bytes(sum[..].try_into()?));

    match peer.call(FAIL, vec![1, 0]).deadline(Duration::from_secs(1)).wait() {
        Outcome::Failed { status: DIVIDED_BY_ZERO, message } => {
            println!("rpc_inline: the handler says: {}", String::from_utf8_lossy(&message));
        }
        other => return Err(format!("the division should fail, and came to {other:?}").into()),
    }
    match peer.call(NOBODY, "").wait() {
        Outcome::Failed { status: status::NO_SUCH_METHOD, .. } => {
            println!("rpc_inline: nobody serves Math/Integrate");
        }
        other => return Err(format!("nobody serves this, and it came to {other:?}").into()),
    }
    Ok(())
}
