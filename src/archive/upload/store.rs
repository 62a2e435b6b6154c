//! The bucket: a thin shell over `aws-sdk-s3`. One request in, its answer or a [`Trouble`] out; it never repeats one by itself, since
//! when to try again is the plan's. Proxies of the environment are not used, and no key is ever part of a sentence.
//!
//! Every body leaves through the [`Gate`] in small pieces, whatever the library does with it, and is signed with its SHA-256, so
//! that a server refuses what was changed on the way.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use tokio::time::timeout;

use super::access;
use super::escort::{self, Escort};
use super::gate::Gate;
use super::plan::{Listed, Prints, base64, hex, is_whole};
use super::trouble::{Trouble, judge, unsent};
use crate::config;

const CONNECT: Duration = Duration::from_secs(10);

/// For an answer to a request without a body.
const ANSWER: Duration = Duration::from_secs(30);

/// A large object takes a while to be put together.
const ASSEMBLY: Duration = Duration::from_secs(180);

/// More than any manifest of ours.
const MAX_TEXT: usize = 16 << 20;

/// An object as the store tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub bytes: u64,
    /// From its metadata.
    pub sha256: Option<String>,
}

/// A multipart upload that was never ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    pub object: String,
    pub id: String,
}

#[derive(Clone)]
pub struct Store {
    client: Client,
    bucket: String,
    /// "bucket recordings at https://s3.example": for sentences.
    place: String,
    gate: Arc<Gate>,
}

pub type Metadata<'a> = &'a [(&'static str, String)];

impl Store {
    /// Makes no connection yet. Reads files of certificates and keys.
    pub async fn new(config: &config::Upload, gate: Arc<Gate>) -> Result<Self, Trouble> {
        let at = config.endpoint.clone().unwrap_or_else(|| format!("AWS {}", config.region));
        let place = format!("bucket {} at {at}", config.bucket);
        let web = access::web_client(config).await.map_err(|text| Trouble::Refused(format!("{place}: {text}")))?;
        let keys =
            access::keys(config, web.clone()).await.ok_or_else(|| Trouble::Refused(format!("{place}: there are no keys")))?;
        let settings = aws_sdk_s3::Config::builder()
            .behavior_version(access::version())
            .region(Region::new(config.region.clone()))
            .http_client(web)
            .credentials_provider(keys)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .force_path_style(config.endpoint.is_some());
        let settings = match &config.endpoint {
            Some(endpoint) => settings.endpoint_url(endpoint),
            None => settings,
        };
        Ok(Self { client: Client::from_conf(settings.build()), bucket: config.bucket.clone(), place, gate })
    }

    /// "bucket recordings at https://s3.example".
    pub fn place(&self) -> &str {
        &self.place
    }

    pub async fn head(&self, object: &str) -> Result<Option<Found>, Trouble> {
        let answer = self.within(ANSWER, self.client.head_object().bucket(&self.bucket).key(object).send()).await;
        let Some(answer) = unless_absent(answer)? else { return Ok(None) };
        let sha256 = answer.metadata().and_then(|metadata| metadata.get(super::object::SHA256)).cloned();
        Ok(Some(Found { bytes: answer.content_length().unwrap_or_default() as u64, sha256 }))
    }

    /// The whole of a small object.
    pub async fn get(&self, object: &str) -> Result<Option<Bytes>, Trouble> {
        let answer = self.within(ANSWER, self.client.get_object().bucket(&self.bucket).key(object).send()).await;
        let Some(answer) = unless_absent(answer)? else { return Ok(None) };
        if answer.content_length().unwrap_or_default() as usize > MAX_TEXT {
            return Ok(None);
        }
        let body = timeout(ANSWER, answer.body.collect()).await.map_err(|_| self.silent())?;
        Ok(Some(body.map_err(|error| Trouble::Weather(format!("{}: {error}", self.place)))?.into_bytes()))
    }

    /// Replaces what has this name.
    pub async fn put(
        &self,
        object: &str,
        kind: &str,
        metadata: Metadata<'_>,
        bytes: Bytes,
        prints: &Prints,
    ) -> Result<(), Trouble> {
        let (escort, pieces) = Escort::of(prints);
        let request = self.client.put_object().bucket(&self.bucket).key(object).content_type(kind);
        let request = metadata.iter().fold(request, |request, (name, value)| request.metadata(*name, value));
        let request = request.content_length(prints.bytes as i64).checksum_sha256(base64(&prints.sha256));
        let request = request.body(ByteStream::from(bytes.clone())).customize().interceptor(escort).send();
        let answer = self.escorted(request, bytes, pieces).await?;
        let whole = answer.e_tag().is_none_or(|etag| !is_md5(etag) || etag.trim_matches('"') == hex(&prints.md5));
        self.must_be(whole, object)
    }

    /// Begins a multipart upload; its id.
    pub async fn begin(&self, object: &str, kind: &str, metadata: Metadata<'_>) -> Result<String, Trouble> {
        let request = self.client.create_multipart_upload().bucket(&self.bucket).key(object).content_type(kind);
        let request = metadata.iter().fold(request, |request, (name, value)| request.metadata(*name, value));
        let request = request.checksum_algorithm(ChecksumAlgorithm::Sha256);
        let answer = self.within(ANSWER, request.send()).await?;
        let id = answer.upload_id().map(Into::into);
        id.ok_or_else(|| Trouble::Weather(format!("{}: the store began an upload and did not name it", self.place)))
    }

    /// Sends a part; its ETag.
    pub async fn part(&self, upload: &Unfinished, number: i32, bytes: Bytes, prints: &Prints) -> Result<Option<String>, Trouble> {
        let (escort, pieces) = Escort::of(prints);
        let request = self.client.upload_part().bucket(&self.bucket).key(&upload.object).upload_id(&upload.id);
        let request = request.part_number(number).content_length(prints.bytes as i64).checksum_sha256(base64(&prints.sha256));
        let request = request.body(ByteStream::from(bytes.clone())).customize().interceptor(escort).send();
        let answer = self.escorted(request, bytes, pieces).await?;
        Ok(answer.e_tag().map(Into::into))
    }

    /// The parts that the store has, in no order.
    pub async fn parts(&self, upload: &Unfinished) -> Result<Vec<Listed>, Trouble> {
        let mut parts = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let request = self.client.list_parts().bucket(&self.bucket).key(&upload.object).upload_id(&upload.id);
            let answer = self.within(ANSWER, request.set_part_number_marker(after.take()).send()).await?;
            parts.extend(answer.parts().iter().map(|part| Listed {
                number: part.part_number().unwrap_or_default(),
                bytes: part.size().unwrap_or_default() as u64,
                etag: part.e_tag().map(Into::into),
                sha256: part.checksum_sha256().map(Into::into),
            }));
            after = answer.next_part_number_marker().map(Into::into);
            if !answer.is_truncated().unwrap_or_default() || after.is_none() {
                return Ok(parts);
            }
        }
    }

    /// Makes the object of its parts, in order.
    pub async fn complete(&self, upload: &Unfinished, parts: &[(Prints, Option<String>)]) -> Result<(), Trouble> {
        let list = parts.iter().zip(1..).map(|((prints, etag), number)| {
            let etag = etag.clone().unwrap_or_else(|| format!("\"{}\"", hex(&prints.md5)));
            CompletedPart::builder().part_number(number).e_tag(etag).checksum_sha256(base64(&prints.sha256)).build()
        });
        let list = CompletedMultipartUpload::builder().set_parts(Some(list.collect())).build();
        let request = self.client.complete_multipart_upload().bucket(&self.bucket).key(&upload.object);
        let answer = self.within(ASSEMBLY, request.upload_id(&upload.id).multipart_upload(list).send()).await?;
        self.must_be(is_whole(parts, answer.e_tag(), answer.checksum_sha256()), &upload.object)
    }

    /// Ends a multipart upload for good; one that is not there is ended too.
    pub async fn abort(&self, upload: &Unfinished) -> Result<(), Trouble> {
        let request = self.client.abort_multipart_upload().bucket(&self.bucket).key(&upload.object).upload_id(&upload.id);
        unless_absent(self.within(ANSWER, request.send()).await).map(drop)
    }

    /// The multipart uploads below this folder that were begun and not ended.
    pub async fn unfinished(&self, folder: &str) -> Result<Vec<Unfinished>, Trouble> {
        let mut found = Vec::new();
        let mut after: (Option<String>, Option<String>) = (None, None);
        loop {
            let request = self.client.list_multipart_uploads().bucket(&self.bucket).prefix(folder);
            let request = request.set_key_marker(after.0.take()).set_upload_id_marker(after.1.take());
            let answer = self.within(ANSWER, request.send()).await?;
            let pairs = answer.uploads().iter().filter_map(|upload| Some((upload.key()?, upload.upload_id()?)));
            // Not every store obeys the prefix.
            let ours = pairs.filter(|(object, _)| object.starts_with(folder));
            found.extend(ours.map(|(object, id)| Unfinished { object: object.into(), id: id.into() }));
            after = (answer.next_key_marker().map(Into::into), answer.next_upload_id_marker().map(Into::into));
            if !answer.is_truncated().unwrap_or_default() || after.0.is_none() {
                return Ok(found);
            }
        }
    }

    async fn escorted<T, E>(
        &self,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        bytes: Bytes,
        pieces: escort::Pieces,
    ) -> Result<T, Trouble>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        tokio::select! {
            answer = request => answer.map_err(|error| self.trouble(error)),
            trouble = escort::feed(&self.gate, &self.place, bytes, pieces) => Err(trouble),
        }
    }

    async fn within<T, E>(
        &self,
        limit: Duration,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Trouble>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let answer = timeout(limit, request).await.map_err(|_| self.silent())?;
        answer.map_err(|error| self.trouble(error))
    }

    fn silent(&self) -> Trouble {
        Trouble::Weather(format!("{} does not answer", self.place))
    }

    fn must_be(&self, whole: bool, object: &str) -> Result<(), Trouble> {
        match whole {
            true => Ok(()),
            false => Err(Trouble::Stale(format!("{}: {object} did not arrive as it was sent", self.place))),
        }
    }

    fn trouble<E: ProvideErrorMetadata + Error + 'static>(&self, error: SdkError<E, HttpResponse>) -> Trouble {
        match &error {
            SdkError::ServiceError(told) => {
                judge(&self.place, told.raw().status().as_u16(), told.err().code(), told.err().message())
            }
            SdkError::ResponseError(answer) if !answer.raw().status().is_success() => {
                judge(&self.place, answer.raw().status().as_u16(), None, None)
            }
            SdkError::TimeoutError(_) => self.silent(),
            _ => unsent(&self.place, &error),
        }
    }
}

fn unless_absent<T>(answer: Result<T, Trouble>) -> Result<Option<T>, Trouble> {
    match answer {
        Err(Trouble::Absent) => Ok(None),
        other => other.map(Some),
    }
}

/// Of an encrypted bucket an ETag is something else.
fn is_md5(etag: &str) -> bool {
    let etag = etag.trim_matches('"');
    etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())
}
