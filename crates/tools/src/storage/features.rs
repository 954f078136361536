//! The levels of features: which there are, what a release sets them to, what they depend on.

use metadata::image::METADATA_VERSION;

use crate::java;

/// Levels by name, `metadata.version` first and the others by name.
pub type Levels = Vec<(&'static str, i16)>;

/// The levels to begin with: those of a release, with some set by hand. `dynamic` tells that the
/// log is to name the voters.
///
/// # Errors
/// A release or a level there is none of, or one that another does not go with.
pub fn levels(release: Option<&str>, wishes: &[&str], dynamic: bool) -> Result<Levels, String> {
    let released = release.map(|name| find(name, NEWEST)).transpose()?;
    let mut parsed = Vec::new();
    for wish in wishes {
        let wrong = |what: &str| format!("Can't parse feature=level string {wish}: {what}");
        let (name, level) = wish.split_once('=').ok_or_else(|| wrong("equals sign not found."))?;
        let level = level.trim();
        let number = java::number::<i16>(level);
        let number = number.map_err(|_| wrong(&format!("unable to parse {level} as a short.")))?;
        parsed.push((name.trim(), number));
    }
    let wished =
        |name: &str| parsed.iter().rev().find(|(other, _)| *other == name).map(|(_, level)| *level);
    let metadata_version = match (wished(METADATA_VERSION), released) {
        (Some(_), Some(_)) => {
            return Err("Use --release-version instead of --feature metadata.version=X to avoid \
                        ambiguity."
                .into());
        }
        (Some(level), None) => stable(level)?,
        (None, released) => released.unwrap_or(NEWEST),
    };
    let known =
        |name: &str| [METADATA_VERSION, KRAFT_VERSION].contains(&name) || steps(name).is_some();
    if let Some((unknown, _)) = parsed.iter().find(|(name, _)| !known(name)) {
        let mut names: Vec<&str> = FEATURES.iter().map(|(name, _)| *name).collect();
        names.push(KRAFT_VERSION);
        names.sort_unstable();
        return Err(format!(
            "Unsupported feature: {unknown}. Supported features are: {}",
            names.join(", ")
        ));
    }
    let mut levels = vec![(METADATA_VERSION, metadata_version)];
    for (name, steps) in FEATURES {
        let level = wished(name).unwrap_or_else(|| default(steps, metadata_version));
        check(name, level)?;
        if name == ELR && level > 0 && metadata_version < ELR_NEEDS {
            return Err(format!(
                "{name} could not be set to {level} because it depends on metadata.version level \
                 {ELR_NEEDS}"
            ));
        }
        levels.push((name, level));
    }
    if let Some(level) = wished(KRAFT_VERSION) {
        check_kraft(level, dynamic)?;
    }
    levels.retain(|(_, level)| *level != 0);
    Ok(levels)
}

/// `kraft.version` follows from the quorum; what is said of it has to be the same.
fn check_kraft(level: i16, dynamic: bool) -> Result<(), String> {
    let flags = "controller.quorum.voters is empty and one of the flags --standalone, \
                 --initial-controllers, or --no-initial-controllers is used. For dynamic \
                 controllers support, try";
    match (level, dynamic) {
        (0, false) | (1, true) => Ok(()),
        (0, true) => Err(format!(
            "Cannot set kraft.version to 0 if {flags} removing the --feature flag for \
             kraft.version."
        )),
        (_, false) => Err(format!(
            "Cannot set kraft.version to {level} unless {flags} using one of --standalone, \
             --initial-controllers, or --no-initial-controllers and removing \
             controller.quorum.voters."
        )),
        (_, true) => Err(no_level(KRAFT_VERSION, level)),
    }
}

fn stable(level: i16) -> Result<i16, String> {
    match name(level) {
        None => {
            let levels = VERSIONS.iter().map(|(level, _)| *level);
            Err(format!(
                "No MetadataVersion with feature level {level}. Valid feature levels are from {} \
                 to {}.",
                levels.clone().min().unwrap_or_default(),
                levels.max().unwrap_or_default()
            ))
        }
        Some(name) if level > NEWEST => Err(format!("metadata.version {name} is not yet stable.")),
        Some(_) => Ok(level),
    }
}

fn check(name: &str, level: i16) -> Result<(), String> {
    let known = steps(name).into_iter().flatten().any(|(step, _)| *step == level);
    if level == 0 || known { Ok(()) } else { Err(no_level(name, level)) }
}

fn no_level(name: &str, level: i16) -> String {
    format!("No feature:{name} with feature level {level}")
}

fn steps(name: &str) -> Option<Steps> {
    FEATURES.iter().find(|(known, _)| *known == name).map(|(_, steps)| *steps)
}

fn default(steps: Steps, metadata_version: i16) -> i16 {
    let reached = steps.iter().filter(|(_, from)| *from <= metadata_version);
    reached.map(|(level, _)| *level).max().unwrap_or(0)
}

/// What `version-mapping` prints of a release, of the newest if none is named.
///
/// # Errors
/// A release there is none of.
pub fn mapping(release: Option<&str>) -> Result<String, String> {
    // Here what is not stable yet counts as well.
    let level = release.map_or(Ok(NEWEST), |name| find(name, i16::MAX))?;
    let release = release.or(name(level)).unwrap_or_default();
    let mut text = format!("metadata.version={level} ({release})\n");
    text += &format!("kraft.version={}\n", i16::from(level >= KRAFT_VERSION_FROM));
    for feature in MAPPED {
        let level = steps(feature).map_or(0, |steps| default(steps, level));
        text += &format!("{feature}={level}\n");
    }
    Ok(text)
}

/// What `feature-dependencies` prints of one `feature=level`.
///
/// # Errors
/// A feature or level there is none of.
pub fn dependencies(wish: &str) -> Result<String, String> {
    let (feature, text) = wish.split_once('=').ok_or_else(|| {
        format!(
            "Invalid feature format: {wish}. Expected format: 'feature=version' (e.g. \
             'group.version=1')"
        )
    })?;
    let level = java::number::<i16>(text);
    let level =
        level.map_err(|_| format!("Invalid version format: {text} for feature {feature}"))?;
    if feature == METADATA_VERSION {
        let name = name(level).ok_or_else(|| format!("Unknown metadata.version {level}"))?;
        return Ok(format!("{feature}={level} ({name}) has no dependencies.\n"));
    }
    let known = match feature {
        KRAFT_VERSION => (0..=1).contains(&level),
        _ if steps(feature).is_none() => return Err(format!("Unknown feature: {feature}")),
        _ => check(feature, level).is_ok(),
    };
    if !known {
        return Err(format!("Feature level {level} is not supported for feature {feature}"));
    }
    if feature == ELR && level > 0 {
        let name = name(ELR_NEEDS).unwrap_or_default();
        return Ok(format!(
            "{feature}={level} requires:\n    metadata.version={ELR_NEEDS} ({name})\n"
        ));
    }
    Ok(format!("{feature}={level} has no dependencies.\n"))
}

/// The level of a release (`4.0`, `4.0.1`) or of an exact version (`4.0-IV3`), up to `newest`.
fn find(release: &str, newest: i16) -> Result<i16, String> {
    let allowed = || VERSIONS.iter().filter(|(level, _)| *level <= newest);
    let parts: Vec<&str> = java::split(release, '.');
    // A third number is that of a release with the same levels.
    let wanted = parts.get(..2).map_or_else(|| parts.join("."), |two| two.join("."));
    let exact = allowed().find(|(_, name)| *name == wanted).map(|(level, _)| *level);
    // A release is the last of its versions, once that is stable.
    let of = |name: &&str| name.split_once("-IV").is_some_and(|(of, _)| of == wanted);
    let release_level = || {
        let stable = allowed().filter(|(level, _)| *level <= NEWEST);
        stable.filter(|(_, name)| of(name)).map(|(level, _)| *level).max()
    };
    exact.or_else(release_level).ok_or_else(|| {
        let known: Vec<&str> = allowed().map(|(_, name)| *name).collect();
        format!(
            "Unknown metadata.version '{release}'. Supported metadata.version are: {}",
            known.join(", ")
        )
    })
}

/// The exact name of a level.
pub fn name(level: i16) -> Option<&'static str> {
    VERSIONS.iter().find(|(known, _)| *known == level).map(|(_, name)| *name)
}

/// Levels, each with the metadata version it is the default from.
type Steps = &'static [(i16, i16)];

/// Features besides `metadata.version` and `kraft.version`, by name.
const FEATURES: [(&str, Steps); 5] = [
    (ELR, &[(1, 26)]),
    ("group.version", &[(1, 22)]),
    ("share.version", &[(1, 28), (2, 31)]),
    ("streams.version", &[(1, 29)]),
    ("transaction.version", &[(1, 24), (2, 24)]),
];
/// The order in which `version-mapping` prints them.
const MAPPED: [&str; 5] =
    ["transaction.version", "group.version", ELR, "share.version", "streams.version"];
const ELR: &str = "eligible.leader.replicas.version";
/// 4.0-IV1: the only dependency there is.
const ELR_NEEDS: i16 = 23;
const KRAFT_VERSION: &str = "kraft.version";
/// 3.9-IV0.
const KRAFT_VERSION_FROM: i16 = 21;
/// 3.5-IV2: from here on the metadata may hold SCRAM credentials.
pub const SCRAM_FROM: i16 = 11;
/// 4.4-IV2, the newest that is stable.
pub const NEWEST: i16 = metadata::image::METADATA_VERSION_MAX;

const VERSIONS: [(i16, &str); 28] = [
    (7, "3.3-IV3"),
    (8, "3.4-IV0"),
    (9, "3.5-IV0"),
    (10, "3.5-IV1"),
    (11, "3.5-IV2"),
    (12, "3.6-IV0"),
    (13, "3.6-IV1"),
    (14, "3.6-IV2"),
    (15, "3.7-IV0"),
    (16, "3.7-IV1"),
    (17, "3.7-IV2"),
    (18, "3.7-IV3"),
    (19, "3.7-IV4"),
    (20, "3.8-IV0"),
    (21, "3.9-IV0"),
    (22, "4.0-IV0"),
    (23, "4.0-IV1"),
    (24, "4.0-IV2"),
    (25, "4.0-IV3"),
    (26, "4.1-IV0"),
    (27, "4.1-IV1"),
    (28, "4.2-IV0"),
    (29, "4.2-IV1"),
    (30, "4.3-IV0"),
    (31, "4.4-IV0"),
    (32, "4.4-IV1"),
    (33, "4.4-IV2"),
    (34, "4.5-IV0"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_the_last_of_its_stable_versions() {
        for (release, level) in [
            ("3.3", 7),
            ("4.0", 25),
            ("4.0.1", 25),
            ("4.0-IV1", 23),
            ("4.0-IV3.1", 25),
            ("4.4", 33),
        ] {
            assert_eq!(find(release, NEWEST), Ok(level), "{release}");
        }
        for release in ["", "4", "3.2", " 4.0", "4.5", "4.5-IV0", "4.0-IV9"] {
            assert!(find(release, NEWEST).is_err(), "{release}");
        }
        assert_eq!(find("4.5-IV0", i16::MAX), Ok(34), "known, though not to be formatted");
    }

    #[test]
    fn a_level_set_by_hand_must_exist_and_go_with_the_others() {
        let told = |release, wish: &str| levels(release, &[wish], true).unwrap_err();
        assert!(told(None, "x=1").starts_with("Unsupported feature: x. "));
        assert!(told(None, "x").contains("equals sign not found"));
        assert!(told(None, "group.version=70000").contains("as a short"));
        assert_eq!(told(None, "group.version=2"), "No feature:group.version with feature level 2");
        assert!(told(None, "metadata.version=34").contains("4.5-IV0 is not yet stable"));
        assert!(told(None, "metadata.version=6").contains("from 7 to 34"));
        assert!(told(Some("4.0"), "metadata.version=24").contains("ambiguity"));
        assert!(told(None, "kraft.version=0").contains("removing the --feature flag"));
        assert!(levels(None, &["kraft.version=1"], false).unwrap_err().contains("unless"));
        assert!(told(Some("3.9"), "eligible.leader.replicas.version=1").contains("level 23"));
        let set = levels(Some("3.7"), &[" transaction.version = 2"], false).unwrap();
        assert_eq!(set, [("metadata.version", 19), ("transaction.version", 2)]);
        // The last of two counts, and none is written at level 0.
        let set = levels(Some("4.0"), &["group.version=1", "group.version=0"], true).unwrap();
        assert_eq!(set, [("metadata.version", 25), ("transaction.version", 2)]);
    }
}
