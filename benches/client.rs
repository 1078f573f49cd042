//! What the load client costs and how far it is off, against a server that knows the truth.
//!
//! The server writes each event at a set hour and notes when it really wrote it. Client and server share this host's
//! clock, so the difference between that note and the client's stamp is the client's error, with the kernel's part in
//! it; the server's own lateness cancels out.
//!
//!     cargo bench --bench client
//!
//! takes about 20 seconds; it wants a core for each of the two threads.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sweep::bench::client::run_blocking;
use sweep::bench::{Cancel, Endpoint, Load, Trace, Workload, prompts};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const FIRST: Duration = Duration::from_millis(50);
const GAP: Duration = Duration::from_millis(10);
const EVENTS: u32 = 300;

/// When each event of an answer was written, in microseconds since 1970, by the request's body.
type Truth = Arc<Mutex<HashMap<Vec<u8>, Vec<u64>>>>;

fn main() {
    let truth = Truth::default();
    let endpoint = start_server(Arc::clone(&truth));
    println!("first event after {FIRST:?}, then one every {GAP:?} a stream, {EVENTS} in all\n");
    println!(
        "{:>7} {:>9} {:>12} {:>6} | {:>21} | {:>21} | {:>14}",
        "streams",
        "events/s",
        "CPU us/event",
        "CPU %",
        "first event late (ms)",
        "|gap error| (ms)",
        "probe lag (ms)"
    );
    println!(
        "{:>7} {:>9} {:>12} {:>6} | {:>10} {:>10} | {:>10} {:>10} | {:>14}",
        "", "", "", "", "p50", "p99", "p50", "p99", "p99"
    );
    for streams in [1, 50, 200, 400, 800] {
        let workload = Workload {
            prompts: streams,
            warmup: 0,
            range_ratio: 1.0,
            load: Load::Closed { concurrency: streams },
            seed: streams.into(),
            ..Workload::random("truth", 128, EVENTS, streams)
        };
        let trace =
            run_blocking(&workload, &endpoint, |_| (), &Cancel::new()).expect("the truth server answers");
        report(
            streams,
            &trace,
            &truth.lock().expect("no thread panicked"),
            &workload,
        );
    }
}

fn report(streams: u32, trace: &Trace, truth: &HashMap<Vec<u8>, Vec<u64>>, workload: &Workload) {
    let (mut first_late, mut gap_errors) = (Vec::new(), Vec::new());
    for (request, prompt) in trace.requests.iter().zip(prompts::measured(workload)) {
        assert_eq!(request.error, None, "the truth server never fails a request");
        let written = &truth[&prompt.body.to_vec()];
        let seen: Vec<u64> = request
            .events()
            .map(|event| trace.header.start_unix_us + event.at_us)
            .take(written.len())
            .collect();
        assert_eq!(seen.len(), written.len(), "every event written is in the trace");
        first_late.push(seen[0].saturating_sub(written[0]));
        for (seen, written) in seen.windows(2).zip(written.windows(2)) {
            gap_errors.push((seen[1] - seen[0]).abs_diff(written[1] - written[0]));
        }
    }
    let load = trace.header.load;
    println!(
        "{streams:>7} {:>9.0} {:>12.2} {:>6.1} | {:>10.3} {:>10.3} | {:>10.3} {:>10.3} | {:>14.3}",
        load.events_per_s,
        load.cpu_share / load.events_per_s * 1e6,
        load.cpu_share * 100.0,
        percentile_ms(&mut first_late, 0.50),
        percentile_ms(&mut first_late, 0.99),
        percentile_ms(&mut gap_errors, 0.50),
        percentile_ms(&mut gap_errors, 0.99),
        load.lag_p99_us as f64 / 1000.0,
    );
}

fn percentile_ms(values: &mut [u64], share: f64) -> f64 {
    values.sort_unstable();
    values[((values.len() - 1) as f64 * share).round() as usize] as f64 / 1000.0
}

/// Serves from a thread of its own until the process ends.
fn start_server(truth: Truth) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener
        .local_addr()
        .expect("a bound socket has an address")
        .port();
    listener
        .set_nonblocking(true)
        .expect("a listener can be made non-blocking");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("the listener is non-blocking");
            while let Ok((socket, _)) = listener.accept().await {
                let truth = Arc::clone(&truth);
                tokio::spawn(async move { serve(BufReader::new(socket), &truth).await });
            }
        });
    });
    Endpoint {
        host: "127.0.0.1".to_owned(),
        port,
    }
}

/// Serves one connection until the client closes it.
async fn serve(mut socket: BufReader<TcpStream>, truth: &Truth) -> Option<()> {
    socket.get_ref().set_nodelay(true).ok()?;
    loop {
        let body = read_body(&mut socket).await?;
        let begin = tokio::time::Instant::now() + FIRST;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.get_mut().write_all(head.as_bytes()).await.ok()?;
        let event = chunk(concat!(
            r#"data: {"id":"cmpl-5b2c7e1d9f3a4c6b8d0e","object":"text_completion","created":1760000000,"model":"truth","#,
            r#""choices":[{"index":0,"text":" token","logprobs":null,"finish_reason":null,"stop_reason":null}]}"#,
            "\n\n"
        ));
        let mut written = Vec::with_capacity(EVENTS as usize);
        for position in 0..EVENTS {
            tokio::time::sleep_until(begin + GAP * position).await;
            written.push(unix_us());
            socket.get_mut().write_all(&event).await.ok()?;
        }
        truth.lock().expect("no thread panicked").insert(body, written);
        let usage =
            format!(r#"{{"choices":[],"usage":{{"prompt_tokens":128,"completion_tokens":{EVENTS}}}}}"#);
        let last = chunk(&format!("data: {usage}\n\ndata: [DONE]\n\n"));
        socket
            .get_mut()
            .write_all(&[last, chunk("")].concat())
            .await
            .ok()?;
    }
}

fn chunk(data: &str) -> Vec<u8> {
    format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
}

async fn read_body(socket: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        socket.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    Some(body)
}

fn unix_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros() as u64)
}
