//! The simulated engine behind HTTP: an OpenAI-compatible server on one thread.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::Exp1;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::body::{Events, ResponseBody};
use super::config::{ConfigError, Fault, SimConfig, Simulation};
use super::driver::Driver;
use super::engine;
use super::generation::{Abandoned, channel};
use super::metrics;
use super::openai::{self, Answer, Endpoint, FinishReason, GenerationRequest};
use super::pacing::Clock;

/// Says that numbers from this server are simulated.
pub const SIMULATED_HEADER: HeaderName = HeaderName::from_static("x-sweep-simulated");
/// Virtual seconds in a wall second.
pub const TIME_SCALE_HEADER: HeaderName = HeaderName::from_static("x-sweep-time-scale");

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: u32 = 4096;
/// Largest request body, bytes.
const MAX_BODY: usize = 64 << 20;
/// Mean length of a generation that ends by itself, tokens.
const MEAN_NATURAL_TOKENS: f64 = 400.0;

/// Why a simulated server cannot start, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration is impossible.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {source}; choose another `--port`, or 0 for any free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The system refused a thread, a runtime or a timer.
    #[error("the system refused what a server needs: {0}")]
    System(#[source] io::Error),
    /// The fault that was asked for.
    #[error("simulated fault: died after {0} requests")]
    Died(u64),
}

/// A server that listens and is not yet served.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    config: SimConfig,
    simulation: Simulation,
}

/// Checks `config` and listens on `port` of its host; 0 takes a free port. Needs a Tokio runtime with I/O.
///
/// # Errors
/// [`ServeError::Config`] or [`ServeError::Listen`].
pub fn bind(config: SimConfig, port: u16) -> Result<Bound, ServeError> {
    let simulation = config.resolve()?;
    let wanted = SocketAddr::new(config.host, port);
    let listen = || {
        let socket = if wanted.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(wanted)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    let (listener, address) = listen().map_err(|source| ServeError::Listen {
        address: wanted,
        source,
    })?;
    Ok(Bound {
        listener,
        address,
        config,
        simulation,
    })
}

impl Bound {
    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is done; then connections are cut at once. Virtual time starts now.
    ///
    /// # Errors
    /// [`ServeError::System`], or [`ServeError::Died`] when that was asked for.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let server = Rc::new(Server::new(self.config, &self.simulation));
        let local = LocalSet::new();
        let accepting = {
            let server = Rc::clone(&server);
            async move {
                loop {
                    // A failed accept (no file descriptor left, a connection gone already) concerns one client.
                    match self.listener.accept().await {
                        Ok((stream, _)) => server.connect(stream),
                        Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                    }
                }
            }
        };
        local
            .run_until(async {
                tokio::select! {
                    () = shutdown => Ok(()),
                    () = server.died.notified() => Err(ServeError::Died(server.taken.get())),
                    ended = server.driver.run() => match ended {
                        Ok(never) => match never {},
                        Err(error) => Err(ServeError::System(error)),
                    },
                    never = accepting => never,
                }
            })
            .await
    }
}

struct Server {
    config: SimConfig,
    max_model_len: u64,
    clock: Clock,
    driver: Driver,
    fingerprint: String,
    time_scale: HeaderValue,
    started: SystemTime,
    taken: Cell<u64>,
    died: Notify,
}

/// An error for the client.
struct Refusal {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
        }
    }

    fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequestError", message)
    }
}

impl Server {
    fn new(config: SimConfig, simulation: &Simulation) -> Self {
        let clock = Clock::start(config.time_scale);
        let time_scale = HeaderValue::from_str(&config.time_scale.to_string());
        Self {
            max_model_len: simulation.max_model_len,
            clock,
            driver: Driver::new(simulation, clock, config.stream_interval, config.seed),
            fingerprint: config.fingerprint(),
            time_scale: time_scale.expect("a number is a valid header"),
            started: SystemTime::now(),
            taken: Cell::new(0),
            died: Notify::new(),
            config,
        }
    }

    fn connect(self: &Rc<Self>, stream: tokio::net::TcpStream) {
        // Without it the last bytes of an event may wait for the client's acknowledgement.
        let _ = stream.set_nodelay(true);
        let server = Rc::clone(self);
        let service = service_fn(move |request| {
            let server = Rc::clone(&server);
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        tokio::task::spawn_local(async move {
            // A connection that breaks is its client's affair; its generations are dropped with it.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let mut response = match self.route(request).await {
            Ok(response) => response,
            Err(Refusal {
                status,
                kind,
                message,
            }) => {
                let body = openai::error_body(kind, &message, status.as_u16());
                let mut response = json(ResponseBody::whole(body));
                *response.status_mut() = status;
                response
            }
        };
        let headers = response.headers_mut();
        headers.insert(SIMULATED_HEADER, HeaderValue::from_static("1"));
        headers.insert(TIME_SCALE_HEADER, self.time_scale.clone());
        response
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Response<ResponseBody>, Refusal> {
        let path = request.uri().path().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::POST, "/v1/completions") => self.generate(Endpoint::Completions, request).await,
            (&Method::POST, "/v1/chat/completions") => self.generate(Endpoint::Chat, request).await,
            (&Method::GET, "/v1/models") => {
                let created = unix_seconds(self.started);
                let name = self.config.served_name();
                Ok(json(ResponseBody::whole(openai::models_body(
                    name,
                    self.max_model_len,
                    created,
                ))))
            }
            (&Method::GET, "/health") => self.ready().map(|()| Response::new(ResponseBody::whole(""))),
            (&Method::GET, "/metrics") => Ok(self.metrics()),
            (&Method::POST, "/reset_prefix_cache" | "/flush_cache") => self.reset(),
            _ => Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "NotFoundError",
                format!("no such endpoint: {path}"),
            )),
        }
    }

    fn ready(&self) -> Result<(), Refusal> {
        let loading = self.clock.now() < Duration::from_secs_f64(self.config.load_time);
        if loading || self.config.fault == Some(Fault::NeverReady) {
            let message = "the simulated model is loading";
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailableError",
                message,
            ));
        }
        Ok(())
    }

    fn reset(&self) -> Result<Response<ResponseBody>, Refusal> {
        if self.config.fault == Some(Fault::RefuseReset) {
            let message = "simulated fault: the reset is refused";
            return Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalServerError",
                message,
            ));
        }
        self.driver.reset_prefix_cache();
        Ok(Response::new(ResponseBody::whole("")))
    }

    fn metrics(&self) -> Response<ResponseBody> {
        let Self { driver, config, .. } = self;
        let page = metrics::page(
            config.served_name(),
            &driver.load(),
            &driver.totals(),
            &driver.lateness(),
        );
        let mut response = Response::new(ResponseBody::whole(page));
        let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        response
    }

    async fn generate(
        &self,
        endpoint: Endpoint,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Refusal> {
        self.ready()?;
        let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
        let body = body
            .map_err(|error| Refusal::bad_request(error.to_string()))?
            .to_bytes();
        let request = openai::parse(endpoint, &body).map_err(Refusal::bad_request)?;
        drop(body);
        let name = self.config.served_name();
        if let Some(other) = request.model.as_deref().filter(|model| *model != name) {
            let message = format!("the model `{other}` does not exist; this server simulates `{name}`");
            return Err(Refusal::new(StatusCode::NOT_FOUND, "NotFoundError", message));
        }
        let (tokens, finish) = self.length(&request)?;

        if let Some(Fault::DieAfter(requests)) = self.config.fault
            && self.taken.get() >= requests
        {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
        self.taken.set(self.taken.get() + 1);
        let created = unix_seconds(SystemTime::now());
        let answer = Answer::new(
            &request,
            finish,
            self.taken.get(),
            name,
            &self.fingerprint,
            created,
        );
        let consumer = if self.config.fault == Some(Fault::NoTokens) {
            let (producer, consumer) = channel(1, &Abandoned::default());
            producer.produce(0, true);
            consumer
        } else {
            self.driver.submit(engine::Request {
                prompt_tokens: request.prompt.tokens,
                prefix: request.prompt.prefix,
                output_tokens: tokens,
            })
        };
        if !request.stream {
            return Ok(json(ResponseBody::whole(answer.body(consumer.all().await))));
        }
        let events = Events::new(consumer, answer, request.include_usage);
        let mut response = Response::new(ResponseBody::Events(Box::new(events)));
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream; charset=utf-8"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Ok(response)
    }

    /// Tokens that a request will get, and why it ends there.
    fn length(&self, request: &GenerationRequest) -> Result<(u64, FinishReason), Refusal> {
        let room = self.max_model_len.saturating_sub(request.prompt.tokens);
        let asked = request.max_tokens.unwrap_or(room);
        if room == 0 || asked > room {
            return Err(Refusal::bad_request(format!(
                "{} prompt tokens and {asked} output tokens exceed the maximum context length of {} tokens",
                request.prompt.tokens, self.max_model_len
            )));
        }
        if request.ignore_eos {
            return Ok((asked, FinishReason::Length));
        }
        // Memoryless like a fixed chance of ending at each token, and the same for the same prompt and seed.
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.config.seed ^ request.prompt.hash);
        let natural = (rng.sample::<f64, _>(Exp1) * MEAN_NATURAL_TOKENS) as u64 + 1;
        let natural = natural.max(request.min_tokens);
        Ok(if natural < asked {
            (natural, FinishReason::Stop)
        } else {
            (asked, FinishReason::Length)
        })
    }
}

fn json(body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
