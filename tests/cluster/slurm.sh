#!/usr/bin/env bash
# Starts munge, slurmctld and slurmd of Debian's packages on this machine, with all their files in a new folder and all
# their ports on loopback; runs the command that is given; stops them. Needs root, since slurmd does.
set -euo pipefail
home="$(mktemp -d /tmp/harness-slurm-XXXXXX)"
chmod 755 "$home"
pids=()
stop() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done; done
    rm -rf "$home"
}
trap stop EXIT

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
name="$(hostname -s)"
mkdir "$home/munge" "$home/state" "$home/spool"
dd if=/dev/urandom of="$home/munge/key" bs=1024 count=1 status=none
chmod 700 "$home/munge"
chmod 400 "$home/munge/key"
munged --foreground --force --num-threads=1 --socket="$home/munge.socket" --key-file="$home/munge/key" \
    --log-file="$home/munged.log" --pid-file="$home/munged.pid" --seed-file="$home/munge/seed" &
pids+=($!)
cat >"$home/slurm.conf" <<CONF
ClusterName=harness
SlurmctldHost=$name(127.0.0.1)
SlurmUser=root
SlurmctldPort=$(port)
SlurmdPort=$(port)
AuthType=auth/munge
AuthInfo=socket=$home/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd.pid
SlurmctldLogFile=$home/slurmctld.log
SlurmdLogFile=$home/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1
MinJobAge=300
KillWait=30
ReturnToService=2
SwitchType=switch/none
MpiDefault=none
NodeName=$name NodeAddr=127.0.0.1 CPUs=$(nproc --all) State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=test Nodes=$name Default=YES MaxTime=60 State=UP PriorityTier=1
PartitionName=urgent Nodes=$name MaxTime=60 State=UP PriorityTier=2
CONF
export SLURM_CONF="$home/slurm.conf"
slurmctld -D -f "$SLURM_CONF" &
pids+=($!)
slurmd -D -f "$SLURM_CONF" &
pids+=($!)
for _ in $(seq 300); do
    if [ "$(sinfo --noheader --format %t 2>/dev/null)" = idle ]; then
        "$@"
        exit
    fi
    sleep 0.1
done
tail -n 20 "$home"/*.log >&2
echo "slurmctld and slurmd did not become ready within 30 s" >&2
exit 1
