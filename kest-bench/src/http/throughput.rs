//! Requests over loopback: the layers beside the same checks by hand.

use kest::http::Wire;
use tokio::runtime::Runtime;

use super::client::Client;
use super::issuer::Issuer;
use super::{baggage, services};
use crate::Result;
use crate::chain::{Engine, Maker};
use crate::clock::{Clock, least, median};
use crate::report::{Line, Report};

/// Entries of the lineages that arrive.
const LENGTHS: [usize; 3] = [1, 3, 7];
const CONNECTIONS: usize = 8;
/// Twice what a layer remembers, so that none is remembered when its turn comes again.
const NEW: usize = 20_000;
/// So few that all are remembered.
const KNOWN: usize = 1_000;

/// Prints the lines `http/throughput/…`: `new` are lineages that the layer has not seen, `known` such that it has.
pub(super) fn measure(report: &mut Report, quick: bool) -> Result<()> {
    for (kind, entries) in [("new", NEW), ("known", KNOWN)] {
        let (wall, processor) =
            (format!("http/throughput/{kind}"), format!("http/throughput/{kind}/processor"));
        if report.wants(&wall) || report.wants(&processor) {
            for length in LENGTHS {
                let times = of(length, entries, if quick { (2, 1_000) } else { (15, 4_000) })?;
                for (name, (times, floors)) in [(&wall, times.wall), (&processor, times.processor)] {
                    if report.wants(name) {
                        let ratios = times.iter().zip(&floors).map(|(ns, floor)| ns / floor).collect();
                        report.add(Line {
                            name: name.clone(),
                            n: length,
                            threads: CONNECTIONS,
                            ns: Some(least(&times)),
                            floor_ns: Some(least(&floors)),
                            ratio: Some(median(ratios)),
                            ..Line::default()
                        })?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Nanoseconds of a request in each round: behind the layers, and by hand.
#[derive(Default)]
struct Times {
    wall: (Vec<f64>, Vec<f64>),
    processor: (Vec<f64>, Vec<f64>),
}

fn of(length: usize, entries: usize, (rounds, count): (usize, usize)) -> Result<Times> {
    let maker = Maker::new(Engine::AllowAll)?;
    kest::reconfigure(maker.kest.clone())?;
    let wire = Wire::default();
    let baggages = (0..entries.div_ceil(length))
        .map(|_| baggage(&wire, maker.passport(length)?))
        .collect::<Result<Vec<_>>>()?;
    kest::clear();
    let runtime = Runtime::new()?;
    let (token, layered, by_hand) = runtime.block_on(async {
        let issuer = Issuer::start().await?;
        let layered = services::serve(services::layered(&maker, &issuer)?).await?;
        let by_hand = services::serve(services::by_hand(&maker, &issuer)?).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((issuer.token()?, layered, by_hand))
    })?;
    let mut client = Client::start(CONNECTIONS, &token, &baggages)?;
    let mut times = Times::default();
    let mut from = 0;
    // The first round fetches the issuer's keys, and makes the layer remember what it will.
    for round in 0..=rounds {
        let mut each = |port| -> Result<(f64, f64)> {
            let (worked, wall) = Clock::Process.time(|| client.run(port, from, count));
            let requests = count as f64;
            Ok((wall? / requests, worked / requests))
        };
        // Whoever comes second finds another machine than who comes first.
        let (layers, hand) = match round % 2 {
            0 => (each(layered)?, each(by_hand)?),
            _ => {
                let hand = each(by_hand)?;
                (each(layered)?, hand)
            }
        };
        from += count;
        if round > 0 {
            times.wall.0.push(layers.0);
            times.wall.1.push(hand.0);
            times.processor.0.push(layers.1);
            times.processor.1.push(hand.1);
        }
    }
    drop(client);
    Ok(times)
}
