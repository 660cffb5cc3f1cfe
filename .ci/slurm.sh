#!/usr/bin/env bash
# Usage: .ci/slurm.sh [stop]
# Starts a Slurm of two nodes on this machine, for the tests with the marker slurm, or stops it. Debian, root; no systemd and no
# cgroups. Environment: SLURM_CI_DIR for logs and state (/var/tmp/slurm-ci), CPUS of each node (those of the machine).
set -euo pipefail
dir=${SLURM_CI_DIR:-/var/tmp/slurm-ci} cpus=${CPUS:-$(nproc)} host=$(hostname -s)

stop() {
    local file
    for file in "$dir"/run/*.pid; do
        [[ ! -e $file ]] || kill "$(cat "$file")" 2>/dev/null || true
    done
    sleep 1
    rm -f "$dir"/run/*.pid
}

apt_install() {
    local need="slurm-wlm munge"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $need >/dev/null 2>&1 ||
        { apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends $need >/dev/null; }
}

start_munge() {
    install -d -o munge -g munge /run/munge
    [[ -s /etc/munge/munge.key ]] || dd if=/dev/urandom of=/etc/munge/munge.key bs=1 count=1024 status=none
    chown munge:munge /etc/munge/munge.key /var/lib/munge /var/log/munge
    chmod 400 /etc/munge/munge.key
    if ! munge -n 2>/dev/null | unmunge >/dev/null 2>&1; then
        rm -f /run/munge/munge.socket.2*
        setpriv --reuid munge --regid munge --clear-groups /usr/sbin/munged --pid-file=/run/munge/munged.pid
    fi
    for _ in $(seq 50); do
        if munge -n 2>/dev/null | unmunge >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
}

# Two partitions, of which the second one preempts jobs of the first by requeueing them.
configure() {
    local node
    mkdir -p /etc/slurm
    cat >/etc/slurm/slurm.conf <<CONF
ClusterName=ci
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
ReturnToService=2
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd-%n.pid
SlurmdSpoolDir=$dir/spool-%n
StateSaveLocation=$dir/state
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
KillWait=5
MinJobAge=300
CONF
    for node in 1 2; do
        echo "NodeName=ci$node NodeHostname=$host NodeAddr=127.0.0.1 Port=$((17000 + node)) CPUs=$cpus State=UNKNOWN"
    done >>/etc/slurm/slurm.conf
    cat >>/etc/slurm/slurm.conf <<CONF
PartitionName=main Nodes=ci[1-2] Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=urgent Nodes=ci[1-2] Default=NO MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
CONF
}

if [[ ${1:-start} == stop ]]; then stop; exit 0; fi
{ command -v slurmctld && command -v slurmd && command -v munged; } >/dev/null || apt_install
stop
mkdir -p "$dir"/{run,log,state,spool-ci1,spool-ci2}
start_munge
configure
slurmctld
for node in ci1 ci2; do slurmd -N "$node"; done
for _ in $(seq 150); do
    if [[ $(sinfo -h -p main -t idle -o %D 2>/dev/null) == 2 ]]; then exit 0; fi
    sleep 0.2
done
echo "slurm: the nodes do not become idle; see $dir/log" >&2
exit 1
