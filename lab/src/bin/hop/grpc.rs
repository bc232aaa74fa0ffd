//! The hop as a gRPC service.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use kest::http::LineageInfo;
use kest_lab::Plan;
use serde_json::Value;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Request, Response, Status};

use crate::Service;
use crate::json::JsonCodec;
use crate::work::{self, Failure};

#[derive(Clone)]
pub(crate) struct GrpcHop(Arc<Service>);

type Answer<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl GrpcHop {
    pub(crate) fn new(service: Arc<Service>) -> Self {
        Self(service)
    }
}

impl tower::Service<http::Request<Body>> for GrpcHop {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Answer<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let unary = Unary(Arc::clone(&self.0));
        Box::pin(async move { Ok(Grpc::new(JsonCodec::new()).unary(unary, request).await) })
    }
}

struct Unary(Arc<Service>);

impl UnaryService<Plan> for Unary {
    type Response = Value;
    type Future = Answer<Response<Value>, Status>;

    fn call(&mut self, request: Request<Plan>) -> Self::Future {
        let service = Arc::clone(&self.0);
        Box::pin(async move {
            let info = request.extensions().get::<LineageInfo>().expect("the layer").clone();
            work::answer(&service, &info, request.into_inner()).await.map(Response::new).map_err(|failure| {
                let code = match failure {
                    Failure::Kest(_) => Code::PermissionDenied,
                    Failure::Send(_) | Failure::Answered(_) => Code::Aborted,
                };
                Status::new(code, failure.told(&service.config.name).to_string())
            })
        })
    }
}
