//! Keeps an apply over a reboot: files for systemd, sysctl.d or tuned, below a root. Each is noted in the
//! journal before it is written, so that undo removes it. Kernel arguments are told, never written.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::identity::digest;
use super::journal::{Fact, JournalError, Writer};
use super::knob::find;
use super::plan::{Plan, Setting};

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// A unit that applies the plan at boot, and a sysctl.d file.
    Systemd,
    /// A sysctl.d file alone.
    Sysctl,
    /// A child profile for tuned.
    Tuned,
}

/// One file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Where, below the root.
    pub path: PathBuf,
    /// What.
    pub text: String,
}

/// Why nothing is kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PersistError {
    /// A file is there and is not ours.
    #[error("{path} exists and ringwire did not write it: move it away first")]
    Foreign {
        /// Which.
        path: PathBuf,
    },
    /// The file system says no.
    #[error("{path}: {error}: run it as root, or name another --root DIR")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The journal cannot be written to.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Nothing that this keeper could keep.
    #[error("nothing of this apply fits: {0}")]
    Nothing(&'static str),
}

/// What the boot unit needs to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// The NIC is nobody's way in.
    Plain,
    /// Somebody said --allow-mgmt.
    Management,
}

/// The files for `plan`.
///
/// # Errors
/// There is nothing for this keeper to keep.
pub fn outputs(plan: &Plan, keeper: Keeper, exposure: Exposure) -> Result<Vec<Output>, PersistError> {
    let sysctls = sysctls(plan);
    let sysctl = (!sysctls.is_empty()).then(|| Output {
        path: format!("etc/sysctl.d/90-ringwire-{}.conf", plan.nic).into(),
        text: sysctl_file(plan, &sysctls),
    });
    match keeper {
        Keeper::Sysctl => {
            Ok(vec![sysctl.ok_or(PersistError::Nothing("it has no sysctl; --as systemd keeps it"))?])
        }
        Keeper::Tuned => Ok(vec![Output {
            path: format!("etc/tuned/ringwire-{}/tuned.conf", plan.nic).into(),
            text: tuned_file(plan, &sysctls),
        }]),
        Keeper::Systemd => {
            let mut outputs = vec![
                Output { path: format!("etc/ringwire/tune/{}.toml", plan.nic).into(), text: plan.to_text() },
                Output {
                    path: format!("etc/systemd/system/ringwire-tune-{}.service", plan.nic).into(),
                    text: unit_file(plan, exposure),
                },
            ];
            outputs.extend(sysctl);
            Ok(outputs)
        }
    }
}

/// Writes `outputs` below `root`.
///
/// # Errors
/// A file of somebody else is in the way, or the file system says no.
pub fn write(
    root: &Path,
    outputs: &[Output],
    own: &[(PathBuf, String)],
    writer: &mut Writer,
) -> Result<Vec<PathBuf>, PersistError> {
    let mut written = Vec::new();
    for output in outputs {
        let path = root.join(&output.path);
        if let Ok(there) = fs::read(&path) {
            let sum = digest(&there);
            if !own.iter().any(|(known, known_sum)| *known == path && *known_sum == sum) {
                return Err(PersistError::Foreign { path });
            }
        }
    }
    for output in outputs {
        let path = root.join(&output.path);
        writer.write(&Fact::Persisted { path: path.clone(), digest: digest(output.text.as_bytes()) })?;
        put(&path, &output.text).map_err(|error| PersistError::File { path: path.clone(), error })?;
        written.push(path);
    }
    Ok(written)
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().expect("every output has a folder");
    fs::create_dir_all(folder)?;
    let beside = path.with_extension("ringwire-new");
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    // On the disk before it takes its name, and its name after it: a boot finds all of it or none.
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

/// What to add to the kernel's command line by hand for the workers' CPUs.
#[must_use]
pub fn kernel_arguments(plan: &Plan) -> String {
    format!("isolcpus=managed_irq,domain,{0} nohz_full={0} rcu_nocbs={0}", plan.cores)
}

fn sysctls(plan: &Plan) -> Vec<&Setting> {
    plan.settings.iter().filter(|setting| sysctl_name(setting).is_some()).collect()
}

/// `net.core.rmem_max` for its file.
fn sysctl_name(setting: &Setting) -> Option<String> {
    let path = setting.address.as_str().strip_prefix("file:/proc/sys/")?;
    Some(path.replace('/', "."))
}

fn sysctl_file(plan: &Plan, sysctls: &[&Setting]) -> String {
    let line = |setting: &&Setting| {
        let name = sysctl_name(setting).expect("only sysctls are listed");
        format!("# {}\n{name} = {}\n", setting.why, setting.wanted)
    };
    let lines: String = sysctls.iter().map(line).collect();
    format!(
        "# Written by `ringwire tune persist` (profile {}); `ringwire tune undo` removes it.\n{lines}",
        plan.profile
    )
}

fn unit_file(plan: &Plan, exposure: Exposure) -> String {
    let nic = &plan.nic;
    let allow = if exposure == Exposure::Management { " --allow-mgmt" } else { "" };
    format!(
        "# Written by `ringwire tune persist` (profile {}); `ringwire tune undo` removes it.\n\
         # Stopping it undoes nothing: an undo that nobody asked for is an outage.\n\
         [Unit]\n\
         Description=ringwire tuning of {nic}\n\
         Documentation=man:ringwire-tune(1)\n\
         After=sys-subsystem-net-devices-{nic}.device systemd-sysctl.service irqbalance.service\n\
         BindsTo=sys-subsystem-net-devices-{nic}.device\n\
         Before=network.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart=/usr/bin/ringwire tune apply /etc/ringwire/tune/{nic}.toml --yes --at-boot{allow}\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        plan.profile
    )
}

fn tuned_file(plan: &Plan, sysctls: &[&Setting]) -> String {
    let parent = if plan.profile == "throughput" { "network-throughput" } else { "network-latency" };
    let mut text = format!(
        "# Written by `ringwire tune persist` (profile {}); `ringwire tune undo` removes it.\n\
         # Start it with: tuned-adm profile ringwire-{}\n[main]\nsummary=ringwire on {}\ninclude={parent}\n",
        plan.profile, plan.nic, plan.nic
    );
    if !sysctls.is_empty() {
        text.push_str("\n[sysctl]\n");
        for setting in sysctls {
            let name = sysctl_name(setting).expect("only sysctls are listed");
            text.push_str(&format!("{name}={}\n", setting.wanted));
        }
    }
    // tuned's plug-in for NICs speaks the words of the command ethtool.
    let features: Vec<String> = plan
        .settings
        .iter()
        .filter(|setting| setting.knob.starts_with("offload."))
        .filter_map(|setting| {
            Some(format!("{} {}", setting.address.as_str().rsplit('/').next()?, setting.wanted))
        })
        .collect();
    if !features.is_empty() {
        text.push_str(&format!(
            "\n[net]\ndevices_udev_regex=INTERFACE={}\nfeatures={}\n",
            plan.nic,
            features.join(" ")
        ));
    }
    for setting in plan.settings.iter().filter(|setting| find(&setting.knob).is_some()) {
        if !setting.knob.starts_with("offload.") && sysctl_name(setting).is_none() {
            text.push_str(&format!("# tuned has no word for {} = {}\n", setting.address, setting.wanted));
        }
    }
    text
}
