//! TLS, by a server of ours before the real one.

use std::sync::Arc;

use im_core::port::To;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{Reach, next, send, subscribe};

/// Of 127.0.0.1, valid until 2126, signed by itself.
const CERT: &str = include_str!("tls/cert.pem");
/// Known to everybody.
const KEY: &str = include_str!("tls/key.pem");

fn acceptor() -> TlsAcceptor {
    let certs = vec![CertificateDer::from_pem_slice(CERT.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .expect("the key's certificate");
    TlsAcceptor::from(Arc::new(config))
}

/// Where TLS is spoken before the server. With `greets`, the server's first line is passed on in
/// the clear before it, as NATS does.
async fn tls_before(server: &str, ip: &str, greets: bool) -> String {
    let (server, acceptor) = (server.to_owned(), acceptor());
    let listener = TcpListener::bind((ip, 0)).await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (acceptor, server) = (acceptor.clone(), server.clone());
            tokio::spawn(async move {
                let mut server = BufReader::new(TcpStream::connect(server).await.ok()?);
                if greets {
                    let mut line = String::new();
                    server.read_line(&mut line).await.ok()?;
                    socket.write_all(line.as_bytes()).await.ok()?;
                }
                let mut client = acceptor.accept(socket).await.ok()?;
                copy_bidirectional(&mut client, &mut server).await.ok()
            });
        }
    });
    addr.to_string()
}

/// A bus reached by TLS works with the authority that signed its certificate, and with no other;
/// neither at an address that the certificate does not name. `secure` is the scheme with TLS.
///
/// # Panics
/// When that does not hold.
pub async fn the_servers_authority_is_asked_for(reach: &Reach, secure: &str, greets: bool) {
    let url = async |ip: &str| {
        let url = reach.elsewhere(&tls_before(reach.place(), ip, greets).await);
        let (_, rest) = url.split_once("://").expect("a URL");
        format!("{secure}://{rest}")
    };
    only_its_authority(reach, &url("127.0.0.1").await, &url("127.0.0.2").await).await;
}

/// The same of a server that speaks TLS by itself, at `url`, with the certificate of these tests:
/// one whose clients go to the address that it tells them, round any server of ours.
///
/// # Panics
/// When that does not hold.
pub async fn the_authority_of_a_server_with_tls_is_asked_for(reach: &Reach, url: &str) {
    let (scheme, _) = url.split_once("://").expect("a URL");
    let elsewhere = tls_before(reach.place(), "127.0.0.2", false).await;
    only_its_authority(reach, url, &format!("{scheme}://{elsewhere}")).await;
}

async fn only_its_authority(reach: &Reach, named: &str, elsewhere: &str) {
    let _ = ring::default_provider().install_default();
    let bus = reach.trusting(named, Some(CERT)).await;
    let bus = bus.expect("its authority is trusted");
    let mut heard = subscribe(&bus, "n").await;
    send(&bus, To::All, "x").await;
    assert_eq!(next(&mut heard).await, "x");
    // Nobody that the web trusts has signed this; and another name is another server.
    for (url, ca) in [(named, None), (elsewhere, Some(CERT))] {
        let error = reach.trusting(url, ca).await.expect_err("not trusted");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}
