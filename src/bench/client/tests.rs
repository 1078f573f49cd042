#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod scripted;

use std::sync::Mutex;

use scripted::{Script, ScriptedServer, Step, chunked, event, stream, text};

use super::super::trace::TokenSource;
use super::super::verdict::{Limits, Reason, Verdict, judge};
use super::*;

fn workload(prompts: u32, concurrency: u32) -> Workload {
    Workload {
        prompts,
        warmup: 0,
        ..Workload::random("m", 16, 8, concurrency)
    }
}

async fn trace_of(workload: &Workload, server: &ScriptedServer) -> Trace {
    run(workload, &server.endpoint(), |_| (), &Cancel::new())
        .await
        .unwrap()
}

/// The one request of a run against a server that always answers like this.
async fn answer_to(script: Script) -> Request {
    let server = ScriptedServer::start(move |_| script.clone()).await;
    trace_of(&workload(1, 1), &server).await.requests.remove(0)
}

const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":2}}"#;

#[tokio::test]
async fn a_stream_is_recorded_in_order() {
    let request = answer_to(stream(&[
        &text("a"),
        &text("b"),
        &event(USAGE),
        "data: [DONE]\n\n",
    ]))
    .await;
    assert_eq!(request.error, None);
    assert_eq!(request.chunks.n, [1, 1, 0, 0]);
    assert_eq!(
        (request.completion_tokens(), request.token_source),
        (2, TokenSource::Usage)
    );
    assert_eq!(request.usage.unwrap().prompt, Some(12));
    let mut times = vec![request.scheduled_us, request.sent_us, request.headers_us.unwrap()];
    times.push(request.first_byte_us.unwrap());
    times.extend(request.events().map(|event| event.at_us));
    times.push(request.end_us);
    assert!(times.is_sorted(), "{times:?}");
}

#[tokio::test]
async fn frames_may_be_cut_anywhere() {
    let whole = [text("é😀"), event(USAGE), "data: [DONE]\r\n\r\n".to_owned()].concat();
    let mut steps = vec![Step::Send(scripted::HEAD.into())];
    steps.extend(whole.as_bytes().chunks(1).map(|byte| Step::Send(chunked(byte))));
    steps.push(Step::Send(chunked(b"")));
    let request = answer_to(Script(steps)).await;
    assert_eq!((request.error, request.chunks.n), (None, vec![1, 0, 0]));
}

#[tokio::test]
async fn failures_keep_their_reason() {
    let plain = |head: &str, body: &str| {
        let length = body.len();
        Script(vec![Step::Send(
            format!("{head}content-length: {length}\r\n\r\n{body}").into(),
        )])
    };
    let cut = |last: Step| {
        let mut script = stream(&[&text("a")]);
        script.0.pop();
        script.0.push(last);
        script
    };

    let refused = answer_to(plain("HTTP/1.1 500 Oops\r\n", "cuda error")).await;
    assert_eq!(
        refused.error,
        Some(RequestError::Status {
            code: 500,
            body: "cuda error".to_owned()
        })
    );

    let whole = answer_to(plain(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n",
        "{}",
    ))
    .await;
    assert!(matches!(whole.error, Some(RequestError::NotStreamed { ref body, .. }) if body == "{}"));

    let untyped = answer_to(plain("HTTP/1.1 200 OK\r\n", "{}")).await;
    assert!(
        matches!(untyped.error, Some(RequestError::Malformed { .. })),
        "{untyped:?}"
    );

    let reset = answer_to(cut(Step::Reset)).await;
    assert!(
        matches!(reset.error, Some(RequestError::Reset { .. })),
        "{reset:?}"
    );

    let closed = answer_to(cut(Step::Close)).await;
    assert!(
        matches!(closed.error, Some(RequestError::Reset { .. })),
        "{closed:?}"
    );
    assert_eq!(closed.chunks.len(), 1, "what came before the failure is kept");

    assert!(matches!(
        answer_to(stream(&[])).await.error,
        Some(RequestError::Malformed { .. })
    ));
    assert_eq!(
        answer_to(stream(&[&text("a")])).await.error,
        Some(RequestError::Truncated)
    );
    let oom = answer_to(stream(&[
        &text("a"),
        &event(r#"{"error":{"message":"out of memory"}}"#),
    ]))
    .await;
    assert_eq!(
        oom.error,
        Some(RequestError::Server {
            message: "out of memory".to_owned()
        })
    );
    let garbled = answer_to(Script(vec![Step::Send(b"nonsense\r\n\r\n".to_vec())])).await;
    assert!(
        matches!(garbled.error, Some(RequestError::Malformed { .. })),
        "{garbled:?}"
    );
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let server = ScriptedServer::start(|_| Script(vec![Step::Hang])).await;
    let impatient = Workload {
        request_timeout_s: 1,
        ..workload(2, 2)
    };
    for request in trace_of(&impatient, &server).await.requests {
        assert_eq!(request.error, Some(RequestError::Timeout { after_s: 1 }));
        assert!(request.end_us >= 1_000_000);
    }
}

#[tokio::test]
async fn a_run_can_be_cancelled_in_the_middle_of_a_stream() {
    let mut script = stream(&[&text("a")]);
    script.0.pop();
    script.0.push(Step::Hang);
    let server = ScriptedServer::start(move |_| script.clone()).await;
    let cancel = Cancel::new();
    let (workload, endpoint) = (workload(4, 2), server.endpoint());
    let cancelling = async {
        server.wait_for_requests(2).await;
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(run(&workload, &endpoint, |_| (), &cancel), cancelling);
    assert!(matches!(outcome, Err(BenchError::Cancelled)));
    assert!(cancel.is_cancelled());
}

#[tokio::test]
async fn a_closed_loop_fills_its_streams_and_never_exceeds_them() {
    let server = ScriptedServer::start(|_| stream(&[&text("a"), "data: [DONE]\n\n"])).await;
    let trace = trace_of(&workload(60, 6), &server).await;
    assert_eq!(trace.completed().count(), 60);
    assert_eq!(
        trace
            .requests
            .iter()
            .map(|request| request.index)
            .collect::<Vec<_>>(),
        Vec::from_iter(0..60)
    );
    assert_eq!((server.most_in_flight(), server.connections()), (6, 6));
}

#[tokio::test]
async fn connections_stand_before_the_first_request() {
    let server = ScriptedServer::start(|_| stream(&[&text("a"), "data: [DONE]\n\n"])).await;
    let seen = Mutex::new(Vec::new());
    let events = |progress| {
        if let Progress::Connected { connections } = progress {
            seen.lock().unwrap().push((connections, server.requests()));
        }
    };
    run(&workload(9, 3), &server.endpoint(), events, &Cancel::new())
        .await
        .unwrap();
    assert_eq!(*seen.lock().unwrap(), [(3, 0)]);
}

#[tokio::test]
async fn a_server_that_closes_after_each_answer_is_served_new_connections() {
    let mut script = stream(&[&text("a"), "data: [DONE]\n\n"]);
    script.0.push(Step::Close);
    let server = ScriptedServer::start(move |_| script.clone()).await;
    let trace = trace_of(&workload(12, 2), &server).await;
    assert_eq!(trace.completed().count(), 12, "{:?}", trace.failed().next());
}

#[tokio::test]
async fn an_open_loop_sends_at_its_hours_and_waits_above_its_cap() {
    let server = ScriptedServer::start(|_| stream(&[&text("a"), "data: [DONE]\n\n"])).await;
    for (max_concurrency, most) in [(None, 40), (Some(3), 3)] {
        let load = Load::Open {
            rate_per_s: 400.0,
            burstiness: 1.0,
            max_concurrency,
        };
        let trace = trace_of(
            &Workload {
                load,
                ..workload(40, 1)
            },
            &server,
        )
        .await;
        assert_eq!(trace.completed().count(), 40);
        let due = arrivals::offsets(0, 40, 400.0, 1.0)
            .into_iter()
            .map(|offset| offset.as_micros() as u64);
        assert!(trace.requests.iter().map(|request| request.scheduled_us).eq(due));
        assert!(
            trace
                .requests
                .iter()
                .all(|request| request.sent_us >= request.scheduled_us)
        );
        assert!(server.most_in_flight() <= most);
        server.forget();
    }
}

#[tokio::test]
async fn warm_up_is_sent_first_and_left_out() {
    let server = ScriptedServer::start(|_| stream(&[&text("a"), "data: [DONE]\n\n"])).await;
    let trace = trace_of(
        &Workload {
            warmup: 5,
            ..workload(4, 2)
        },
        &server,
    )
    .await;
    assert_eq!(
        (trace.requests.len(), trace.header.warmup, server.requests()),
        (4, 5, 9)
    );
}

#[tokio::test]
async fn a_server_that_fails_all_warm_ups_is_given_up() {
    let refuse = "HTTP/1.1 404 Not Found\r\ncontent-length: 8\r\n\r\nno model";
    let server = ScriptedServer::start(move |_| Script(vec![Step::Send(refuse.into())])).await;
    let failed = Workload {
        warmup: 3,
        ..workload(4, 2)
    };
    let error = run(&failed, &server.endpoint(), |_| (), &Cancel::new())
        .await
        .unwrap_err();
    let said = "all 3 warm-up requests failed; the first: the server answered with HTTP 404: no model";
    assert_eq!(error.to_string(), said);
}

#[tokio::test]
async fn a_simulated_server_marks_the_trace() {
    let mark = "x-sweep-simulated: 1\r\nx-sweep-time-scale: 20.5\r\n\r\n";
    let mut script = stream(&[&text("a"), "data: [DONE]\n\n"]);
    script.0[0] = Step::Send(
        scripted::HEAD
            .replacen("\r\n\r\n", &format!("\r\n{mark}"), 1)
            .into(),
    );
    let server = ScriptedServer::start(move |_| script.clone()).await;
    let header = trace_of(&workload(2, 1), &server).await.header;
    assert_eq!((header.simulated, header.time_scale), (true, 20.5));
}

#[tokio::test]
async fn no_server_is_an_error_of_the_run() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
    };
    drop(listener);
    let outcome = run(&workload(1, 1), &endpoint, |_| (), &Cancel::new()).await;
    assert!(matches!(outcome, Err(BenchError::Connect { .. })), "{outcome:?}");
}

#[test]
fn the_verdict_names_a_server_of_no_tokens() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(ScriptedServer::start(|_| stream(&["data: [DONE]\n\n"])));
    let trace = run_blocking(&workload(4, 2), &server.endpoint(), |_| (), &Cancel::new()).unwrap();
    let limits = Limits {
        lag_p99_us: u64::MAX,
        cpu_share: 2.0,
        ..Limits::default()
    };
    assert_eq!(
        judge(&trace, &limits),
        Verdict::Fail(vec![Reason::NoTokens { completed: 4 }])
    );
    assert_eq!(Trace::decode(&trace.encode()).unwrap().requests, trace.requests);
}
