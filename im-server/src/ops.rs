//! What an operator's tools ask: does it live, is it ready, how much does it do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use im_core::model::Stamps;
use im_core::port::Store;
use im_node::Node;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::sync::Mutex;

/// How long the store may take to say anything before the node counts as not ready.
const STORE_DEADLINE: Duration = Duration::from_secs(2);
/// How long an answer of the store is believed: whoever asks more often asks us, not the store.
const STORE_BELIEVED: Duration = Duration::from_millis(500);
/// How often histograms are gathered.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// Upper bounds of the buckets of times, in seconds.
const SECONDS: [f64; 12] = [
    0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0,
];

/// Starts to count. Once per process.
///
/// # Errors
/// When the process counts already.
pub(crate) fn count() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()
}

/// Gathers histograms for as long as the process lives.
pub(crate) async fn gather(handle: PrometheusHandle) {
    let mut every = tokio::time::interval(UPKEEP_EVERY);
    loop {
        every.tick().await;
        handle.run_upkeep();
    }
}

#[derive(Debug)]
struct Ops {
    node: Node,
    store: Arc<dyn Store>,
    metrics: PrometheusHandle,
    /// When the store was asked last, and whether it answered.
    asked: Mutex<Option<(Instant, bool)>>,
}

/// `/healthz`, `/readyz` and `/metrics`.
pub(crate) fn router(node: Node, store: Arc<dyn Store>, metrics: PrometheusHandle) -> Router {
    let asked = Mutex::default();
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .with_state(Arc::new(Ops {
            node,
            store,
            metrics,
            asked,
        }))
}

async fn ready(State(ops): State<Arc<Ops>>) -> impl IntoResponse {
    let why = if ops.node.is_draining() {
        "draining\n"
    } else if !ops.node.is_ready() {
        "the last commit failed\n"
    } else if !ops.store_answers().await {
        "the store is away\n"
    } else {
        return (StatusCode::OK, "ready\n");
    };
    (StatusCode::SERVICE_UNAVAILABLE, why)
}

async fn render(State(ops): State<Arc<Ops>>) -> impl IntoResponse {
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, ops.metrics.render())
}

impl Ops {
    /// Whether the store reads. Those who ask at the same time share one read.
    async fn store_answers(&self) -> bool {
        let mut asked = self.asked.lock().await;
        if let Some((at, answered)) = *asked
            && at.elapsed() < STORE_BELIEVED
        {
            return answered;
        }
        let read =
            tokio::time::timeout(STORE_DEADLINE, self.store.changed(&Stamps::START, 0)).await;
        let answered = matches!(read, Ok(Ok(_)));
        *asked = Some((Instant::now(), answered));
        answered
    }
}
