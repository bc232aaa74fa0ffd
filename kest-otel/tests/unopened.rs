//! A configuration that names an exporter which nobody opened is not passed over in silence. Spec §14.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use kest_core::config::Config;
use kest_otel::KestTelemetry;
use support::{Log, builder};

#[test]
fn configure_warns_of_telemetry_that_nobody_opened() {
    let log = Log::start();
    let warnings = || log.text().matches("`[telemetry]` names an exporter").count();
    let config = Config::parse("[telemetry]\nexporter = \"console\"\nservice_name = \"shop\"").unwrap();
    let kest = builder().config(config.clone()).build().unwrap();
    kest_core::configure(kest.clone()).unwrap();
    assert_eq!(warnings(), 1, "{}", log.text());
    kest_core::reconfigure(kest.clone()).unwrap();
    assert_eq!(warnings(), 2);
    let telemetry = KestTelemetry::from_config(&config).unwrap();
    kest_core::reconfigure(kest).unwrap();
    kest_core::reconfigure(builder().build().unwrap()).unwrap();
    drop(telemetry);
    kest_core::reconfigure(builder().build().unwrap()).unwrap();
    assert_eq!(warnings(), 2, "{}", log.text());
}
