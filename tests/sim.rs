//! The simulated server over real HTTP, in this process, on a free port.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use sweep::sim::{Fault, RunningSim, ServeError, SimConfig, spawn};

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Payloads of the server-sent events.
    fn events(&self) -> Vec<&str> {
        self.body
            .split_terminator("\n\n")
            .map(|event| event.strip_prefix("data: ").unwrap())
            .collect()
    }
}

fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, mut rest) = text
        .split_once("\r\n\r\n")
        .ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let mut body = rest.to_owned();
    if head.contains("transfer-encoding: chunked") {
        body.clear();
        loop {
            let (size, tail) = rest.split_once("\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                break;
            }
            body += &tail[..size];
            rest = &tail[size + 2..];
        }
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Answer {
        status,
        head: head.to_owned(),
        body,
    })
}

/// A fast server: virtual time runs 1000 times as fast as the wall.
fn fast(config: SimConfig) -> RunningSim {
    spawn(SimConfig {
        time_scale: 1000.0,
        ..config
    })
    .unwrap()
}

fn post(sim: &RunningSim, path: &str, body: &str) -> Answer {
    ask(sim.address(), "POST", path, body).unwrap()
}

fn get(sim: &RunningSim, path: &str) -> Answer {
    ask(sim.address(), "GET", path, "").unwrap()
}

/// The value of a metric.
fn metric(sim: &RunningSim, name: &str) -> f64 {
    let page = get(sim, "/metrics").body;
    let line = page
        .lines()
        .find(|line| line.starts_with(&format!("sweep_sim:{name}{{")))
        .unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_stream_brings_the_first_token_alone_then_strides_then_usage() {
    let sim = fast(SimConfig {
        stream_interval: 4,
        ..SimConfig::default()
    });
    let body = r#"{"prompt":[1,2,3,4,5],"max_tokens":10,"ignore_eos":true,"stream":true,
        "stream_options":{"include_usage":true},"model":"deepseek-ai/DeepSeek-R1-0528","temperature":0}"#;
    let answer = post(&sim, "/v1/completions", body);
    assert_eq!(answer.status, 200);
    for header in [
        "x-sweep-simulated: 1",
        "x-sweep-time-scale: 1000",
        "content-type: text/event-stream",
    ] {
        assert!(answer.head.contains(header), "{}", answer.head);
    }
    let events = answer.events();
    assert_eq!(*events.last().unwrap(), "[DONE]");
    let events: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    let (usage, tokens) = events.split_last().unwrap();
    assert_eq!(
        usage["usage"],
        serde_json::json!({"prompt_tokens":5,"completion_tokens":10,"total_tokens":15})
    );
    assert_eq!(usage["choices"], serde_json::json!([]));
    let lengths: Vec<usize> = tokens
        .iter()
        .map(|event| event["choices"][0]["text"].as_str().unwrap().len() / 4)
        .collect();
    assert_eq!((lengths[0], lengths.iter().sum::<usize>()), (1, 10));
    assert!(
        lengths[1..lengths.len() - 1].iter().all(|&length| length >= 4),
        "{lengths:?}"
    );
    assert_eq!(tokens.last().unwrap()["choices"][0]["finish_reason"], "length");
    assert!(tokens[0]["choices"][0]["finish_reason"].is_null());
    assert!(
        tokens[0]["system_fingerprint"]
            .as_str()
            .unwrap()
            .starts_with("sweep-sim-")
    );
}

#[test]
fn chats_stream_deltas_with_a_role_first() {
    let sim = fast(SimConfig::default());
    let body = r#"{"messages":[{"role":"user","content":"hello there"}],"max_completion_tokens":3,
        "ignore_eos":true,"stream":true}"#;
    let answer = post(&sim, "/v1/chat/completions", body);
    let first: Value = serde_json::from_str(answer.events()[0]).unwrap();
    assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(first["choices"][0]["delta"]["content"], " sim");
    assert_eq!(answer.events().last(), Some(&"[DONE]"));
    assert!(!answer.body.contains("usage"), "nobody asked for usage");
}

#[test]
fn whole_answers_end_by_themselves_the_same_way_each_time() {
    let ask = || {
        let sim = fast(SimConfig {
            seed: 3,
            ..SimConfig::default()
        });
        post(
            &sim,
            "/v1/completions",
            r#"{"prompt":"tell me a story","max_tokens":20000}"#,
        )
        .json()
    };
    let (one, two) = (ask(), ask());
    assert_eq!(one["choices"][0]["finish_reason"], "stop");
    assert_eq!(one["usage"], two["usage"]);
    assert_eq!(one["usage"]["prompt_tokens"], 4);
}

#[test]
fn health_waits_for_the_load_time() {
    let sim = spawn(SimConfig {
        load_time: 30.0,
        time_scale: 100.0,
        ..SimConfig::default()
    })
    .unwrap();
    let started = Instant::now();
    let early = get(&sim, "/health");
    let generation = post(&sim, "/v1/completions", r#"{"prompt":"a"}"#).status;
    if started.elapsed() < Duration::from_millis(200) {
        assert_eq!((early.status, generation), (503, 503));
    }
    while get(&sim, "/health").status != 200 {
        assert!(started.elapsed() < Duration::from_secs(20), "never became ready");
    }
    assert!(started.elapsed() >= Duration::from_millis(250));
}

#[test]
fn resets_make_known_prompts_new_again() {
    let sim = fast(SimConfig::default());
    let ids = (0..200).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    let ask = || {
        let body = format!(r#"{{"prompt":[{ids}],"max_tokens":1}}"#);
        assert_eq!(post(&sim, "/v1/completions", &body).status, 200);
        metric(&sim, "prefix_cache_hits_total")
    };
    assert_eq!([ask(), ask()], [0.0, 192.0]);
    for path in ["/reset_prefix_cache", "/flush_cache"] {
        let before = metric(&sim, "prefix_cache_hits_total");
        assert_eq!(post(&sim, path, "").status, 200);
        assert_eq!(ask(), before);
    }
}

#[test]
fn models_and_metrics_describe_the_server() {
    let sim = fast(SimConfig {
        served_model_name: Some("r1".into()),
        ..SimConfig::default()
    });
    let models = get(&sim, "/v1/models").json();
    assert_eq!(
        (&models["data"][0]["id"], &models["data"][0]["simulated"]),
        (&"r1".into(), &true.into())
    );
    post(
        &sim,
        "/v1/completions",
        r#"{"model":"r1","prompt":[1,2],"max_tokens":7,"ignore_eos":true}"#,
    );
    assert_eq!(metric(&sim, "generation_tokens_total"), 7.0);
    assert_eq!(metric(&sim, "prompt_tokens_total"), 2.0);
    assert_eq!(metric(&sim, "num_requests_running"), 0.0);
    assert!(metric(&sim, "pacing_late_seconds_total") >= metric(&sim, "pacing_late_seconds_max"));
}

#[test]
fn what_cannot_be_served_is_refused() {
    let sim = fast(SimConfig {
        max_model_len: 100,
        ..SimConfig::default()
    });
    let status = |path, body| post(&sim, path, body).status;
    assert_eq!(status("/v1/completions", "{"), 400);
    assert_eq!(
        status("/v1/completions", r#"{"prompt":[1],"max_tokens":100}"#),
        400
    );
    assert_eq!(
        status("/v1/completions", r#"{"prompt":[1],"model":"gpt-5"}"#),
        404
    );
    assert_eq!(status("/v1/embeddings", "{}"), 404);
    let long = post(&sim, "/v1/completions", r#"{"prompt":[1],"max_tokens":100}"#);
    assert!(
        long.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("maximum context length of 100 tokens")
    );
}

#[test]
fn a_client_that_leaves_frees_its_place() {
    let sim = spawn(SimConfig::default()).unwrap();
    let body = r#"{"prompt":[1],"max_tokens":100000,"ignore_eos":true,"stream":true}"#;
    let mut stream = TcpStream::connect(sim.address()).unwrap();
    write!(
        stream,
        "POST /v1/completions HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    drop(stream);
    let started = Instant::now();
    while metric(&sim, "num_requests_running") + metric(&sim, "num_requests_waiting") > 0.0 {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "the request still runs"
        );
    }
}

#[test]
fn wall_time_follows_the_scaled_clock() {
    let config = SimConfig {
        time_scale: 2.0,
        ..SimConfig::default()
    };
    let timing = config.resolve().unwrap().timing;
    let sim = spawn(config).unwrap();
    let started = Instant::now();
    post(
        &sim,
        "/v1/completions",
        r#"{"prompt":[1],"max_tokens":40,"ignore_eos":true}"#,
    );
    let batch = sweep::sim::step::Batch {
        decode_sequences: 1,
        decode_context: 1,
        ..Default::default()
    };
    let expected = timing.seconds(&batch) * 40.0 / 2.0;
    assert!(
        started.elapsed().as_secs_f64() > 0.9 * expected,
        "faster than the clock allows"
    );
}

#[test]
fn a_server_that_never_becomes_ready() {
    let sim = fast(SimConfig {
        fault: Some(Fault::NeverReady),
        ..SimConfig::default()
    });
    assert_eq!(get(&sim, "/health").status, 503);
}

#[test]
fn a_server_that_dies_cuts_its_clients_off() {
    let sim = fast(SimConfig {
        fault: Some(Fault::DieAfter(2)),
        ..SimConfig::default()
    });
    let ask = || {
        ask(
            sim.address(),
            "POST",
            "/v1/completions",
            r#"{"prompt":"a","max_tokens":1}"#,
        )
    };
    assert!(ask().is_ok() && ask().is_ok());
    assert!(ask().is_err());
    assert!(matches!(sim.stop(), Err(ServeError::Died(2))));
}

#[test]
fn a_server_that_answers_without_tokens() {
    let sim = fast(SimConfig {
        fault: Some(Fault::NoTokens),
        ..SimConfig::default()
    });
    let body = r#"{"prompt":"a","stream":true,"stream_options":{"include_usage":true}}"#;
    let answer = post(&sim, "/v1/completions", body);
    assert_eq!((answer.status, answer.events().len()), (200, 2));
    assert!(answer.body.contains(r#""completion_tokens":0"#));
}

#[test]
fn a_server_that_refuses_resets() {
    let sim = fast(SimConfig {
        fault: Some(Fault::RefuseReset),
        ..SimConfig::default()
    });
    assert_eq!(post(&sim, "/flush_cache", "").status, 500);
    assert_eq!(get(&sim, "/health").status, 200);
}

#[test]
fn an_impossible_server_does_not_start() {
    let config = SimConfig {
        gpu: "abacus".into(),
        ..SimConfig::default()
    };
    assert!(matches!(spawn(config), Err(ServeError::Config(_))));
}
