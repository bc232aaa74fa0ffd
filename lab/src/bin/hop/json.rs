//! JSON as messages of gRPC, so that nothing has to be generated.

use std::marker::PhantomData;

use bytes::{Buf as _, BufMut as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

pub(crate) struct JsonCodec<E, D>(PhantomData<(E, D)>);

impl<E, D> JsonCodec<E, D> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<E, D> Codec for JsonCodec<E, D>
where
    E: Serialize + Send + 'static,
    D: DeserializeOwned + Send + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = Json<E>;
    type Decoder = Json<D>;

    fn encoder(&mut self) -> Json<E> {
        Json(PhantomData)
    }

    fn decoder(&mut self) -> Json<D> {
        Json(PhantomData)
    }
}

pub(crate) struct Json<T>(PhantomData<T>);

impl<E: Serialize + Send + 'static> Encoder for Json<E> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, item: E, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        serde_json::to_writer(buffer.writer(), &item).map_err(|error| Status::internal(error.to_string()))
    }
}

impl<D: DeserializeOwned + Send + 'static> Decoder for Json<D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        let item = serde_json::from_reader(buffer.reader());
        item.map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}
