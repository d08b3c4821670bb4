//! TLS, by a server of ours before the real one.

use std::net::SocketAddr;
use std::sync::Arc;

use im_bus_redis::{ConnectError, Options, RedisBus};
use im_core::port::{Bus, Incoming, To};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{next, node, options, url};

/// Of 127.0.0.1, valid until 2126, signed by itself.
const CERT: &str = include_str!("tls/cert.pem");
/// Known to everybody.
const KEY: &str = include_str!("tls/key.pem");

async fn tls_before(server: &str, ip: &str) -> SocketAddr {
    let server = server.to_owned();
    let certs = vec![CertificateDer::from_pem_slice(CERT.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, server) = (acceptor.clone(), server.clone());
            tokio::spawn(async move {
                let mut client = acceptor.accept(socket).await.ok()?;
                let mut server = TcpStream::connect(server).await.ok()?;
                copy_bidirectional(&mut client, &mut server).await.ok()
            });
        }
    });
    addr
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_the_servers_authority_is_asked_for() {
    let Some(url) = url() else { return };
    let _ = ring::default_provider().install_default();
    let place = url.split('/').nth(2).unwrap();
    let server = place.rsplit('@').next().unwrap();
    let secure = async |ip: &str| {
        let addr = tls_before(server, ip).await.to_string();
        url.replace("redis://", "rediss://").replace(server, &addr)
    };
    let (named, elsewhere) = (secure("127.0.0.1").await, secure("127.0.0.2").await);
    let trusting = Options {
        ca_pem: Some(CERT.to_owned()),
        ..options()
    };
    let bus = RedisBus::connect(&named, trusting.clone()).await.unwrap();
    let mut heard = bus.subscribe(&node("n")).await.unwrap();
    bus.publish(To::Node(node("n")), "x".into()).await.unwrap();
    assert_eq!(next(&mut heard).await, Incoming::Message("x".into()));
    // Nobody that the web trusts has signed this; and another name is another server.
    for (url, options) in [(&named, options()), (&elsewhere, trusting)] {
        let error = RedisBus::connect(url, options).await.unwrap_err();
        let ConnectError::Unreachable { reason, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(reason.contains("certificate"), "{reason}");
    }
}
