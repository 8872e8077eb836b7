//! quinn: one QUIC connection; a bidirectional stream a request, or unreliable datagrams.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use quinn::{ClientConfig, Endpoint, ServerConfig, TransportConfig};
use rustls::pki_types::PrivatePkcs8KeyDer;

use crate::{LOOK_UP, Load, Scenario, Tally, open_loop, pin, runtime};

fn transport() -> Arc<TransportConfig> {
    let mut t = TransportConfig::default();
    t.max_concurrent_bidi_streams(4096u32.into());
    t.datagram_receive_buffer_size(Some(32 << 20));
    Arc::new(t)
}

pub fn run(load: Load, datagrams: bool) -> anyhow::Result<Tally> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cert = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let key = PrivatePkcs8KeyDer::from(cert.signing_key.serialize_der());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.cert.der().clone())?;
    let mut server_config = ServerConfig::with_single_cert(vec![cert.cert.der().clone()], key.into())?;
    server_config.transport_config(transport());
    let mut client_config = ClientConfig::with_root_certificates(Arc::new(roots))?;
    client_config.transport_config(transport());

    let (tx, rx) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || -> anyhow::Result<Tally> {
        load.enter_server()?;
        runtime().block_on(async move {
            let ep = Endpoint::server(server_config, (load.server, 0).into())?;
            tx.send(ep.local_addr()?)?;
            let conn = ep.accept().await.unwrap().await?;
            let mut tally = Tally::new(load);
            if load.scenario == Scenario::Bulk {
                let mut recv = conn.accept_uni().await?;
                while let Some(chunk) = recv.read_chunk(1 << 20, true).await? {
                    if !tally.arrived(chunk.bytes.len()) {
                        break;
                    }
                }
                return Ok(tally);
            }
            if datagrams {
                loop {
                    let d = conn.read_datagram().await?;
                    conn.send_datagram(d)?;
                }
            }
            loop {
                let (mut send, mut recv) = conn.accept_bi().await?;
                tokio::spawn(async move {
                    let body = recv.read_to_end(64 << 20).await?;
                    send.write_chunk(Bytes::from(body)).await?;
                    send.finish()?;
                    anyhow::Ok(())
                });
            }
        })
    });
    let Ok(addr) = rx.recv() else { return server.join().unwrap() };
    pin(0);
    let tally = runtime().block_on(async {
        let mut ep = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?;
        ep.set_default_client_config(client_config);
        let conn = ep.connect(addr, "localhost")?.await?;
        let body = Bytes::from(vec![7u8; load.bytes]);
        if load.scenario == Scenario::Bulk {
            let mut send = conn.open_uni().await?;
            // The server stops without a word: a write that waits for its credit looks up now and then.
            while !server.is_finished() {
                if let Ok(Err(_)) = tokio::time::timeout(LOOK_UP, send.write_chunk(body.clone())).await {
                    break;
                }
            }
            return anyhow::Ok(None);
        }
        let mut tally = Tally::new(load);
        if datagrams {
            let mut sent = std::collections::VecDeque::new();
            loop {
                while sent.len() < load.window {
                    sent.push_back(Instant::now());
                    conn.send_datagram(body.clone())?;
                }
                match tokio::time::timeout(Duration::from_millis(50), conn.read_datagram()).await {
                    Ok(d) => {
                        if !tally.done(sent.pop_front().unwrap(), d?.len()) {
                            return Ok(Some(tally));
                        }
                    }
                    Err(_) => sent.clear(),
                }
            }
        }
        let call = || {
            let (conn, body) = (conn.clone(), body.clone());
            async move {
                let t = Instant::now();
                let (mut send, mut recv) = conn.open_bi().await?;
                send.write_chunk(body).await?;
                send.finish()?;
                anyhow::Ok((t, recv.read_to_end(64 << 20).await?.len()))
            }
        };
        if load.scenario == Scenario::Load {
            let answered = open_loop::run(load, || {
                let answer = call();
                async move { anyhow::Ok(answer.await?.1) }
            });
            return answered.await.map(Some);
        }
        let mut flying: FuturesUnordered<_> = (0..load.window).map(|_| call()).collect();
        loop {
            let (t, n) = flying.next().await.unwrap()?;
            if !tally.done(t, n) {
                return Ok(Some(tally));
            }
            flying.push(call());
        }
    })?;
    match tally {
        Some(t) => Ok(t),
        None => server.join().unwrap(),
    }
}
