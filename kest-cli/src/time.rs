//! Times on the command line and in lists: RFC 3339, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

use toml::value::{Datetime, Offset};

const DAY_MS: u64 = 86_400_000;

/// Epoch milliseconds as RFC 3339 has them, in UTC.
pub(crate) fn utc(ms: u64) -> String {
    let (year, month, day) = civil(ms / DAY_MS);
    let (seconds, millis) = (ms % DAY_MS / 1_000, ms % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Now, in epoch milliseconds.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    u64::try_from(now).unwrap_or(u64::MAX)
}

/// A time that somebody has typed: RFC 3339 with an offset, a date (midnight in UTC), or how long ago (`90s`, `30m`,
/// `2h`, `7d`, `4w`).
///
/// # Errors
/// When it is none of these.
pub(crate) fn parse(text: &str, now_ms: u64) -> Result<u64, String> {
    if let Some(ago_ms) = ago_ms(text) {
        return now_ms.checked_sub(ago_ms).ok_or_else(|| "that is before 1970".to_owned());
    }
    let shape =
        "give a time such as `2026-11-22T14:30:00Z`, a date, or how long ago: `90s`, `30m`, `2h`, `7d`, `4w`";
    let time: Datetime = text.parse().map_err(|_| shape.to_owned())?;
    let Some(date) = time.date else { return Err(shape.to_owned()) };
    let days = days_from_civil(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let mut ms = days * 86_400_000;
    if let Some(clock) = time.time {
        let seconds = i64::from(clock.hour) * 3_600
            + i64::from(clock.minute) * 60
            + i64::from(clock.second.unwrap_or_default());
        ms += seconds * 1_000 + i64::from(clock.nanosecond.unwrap_or_default() / 1_000_000);
    }
    match (time.time, time.offset) {
        (_, Some(Offset::Z)) | (None, None) => {}
        (_, Some(Offset::Custom { minutes })) => ms -= i64::from(minutes) * 60_000,
        (Some(_), None) => {
            return Err("it has no offset; end it with `Z`, or with one such as `+02:00`".to_owned());
        }
    }
    u64::try_from(ms).map_err(|_| "that is before 1970".to_owned())
}

fn ago_ms(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let number = text.strip_suffix(unit)?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // So long ago that it is before 1970, and said to be.
    let number: u64 = number.parse().unwrap_or(u64::MAX);
    Some(number.saturating_mul(seconds * 1_000))
}

/// Year, month and day of a day since 1970-01-01. Counted in eras of 400 years, which begin in March.
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (400 * era + year + u64::from(month <= 2), month, of_year - (153 * march + 2) / 5 + 1)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let march = if month > 2 { month - 3 } else { month + 9 };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_they_are_read() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_304_503_210, "2026-11-21T23:41:43.210Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(utc(ms), text);
            assert_eq!(parse(text, 0), Ok(ms), "{text}");
        }
        for day in 0..200_000 {
            let (year, month, date) = civil(day);
            assert_eq!(days_from_civil(year as i64, month as i64, date as i64), day as i64);
        }
        assert!(utc(u64::MAX).ends_with('Z'), "no time that a store could hold stops the list");
    }

    #[test]
    fn times_that_people_type() {
        const NOW: u64 = 1_795_304_503_210;
        for (text, ms) in [
            ("2026-11-22T01:41:43.21+02:00", NOW),
            ("2026-11-21 23:41:43.210z", NOW),
            ("2026-11-21T18:41:43.210-05:00", NOW),
            ("2026-11-22", 1_795_305_600_000),
            ("90s", NOW - 90_000),
            ("30m", NOW - 1_800_000),
            ("2h", NOW - 7_200_000),
            ("7d", NOW - 604_800_000),
            ("4w", NOW - 4 * 604_800_000),
        ] {
            assert_eq!(parse(text, NOW), Ok(ms), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for (text, why) in [
            ("2026-11-22T01:21:43", "no offset"),
            ("2026-02-30T00:00:00Z", "give a time"),
            ("14:00:00", "give a time"),
            ("yesterday", "give a time"),
            ("", "give a time"),
            ("h", "give a time"),
            ("-2h", "give a time"),
            ("2.5h", "give a time"),
            ("99999999999999999999d", "before 1970"),
            ("1969-12-31T23:59:59Z", "before 1970"),
        ] {
            let error = parse(text, 1_795_304_503_210).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
