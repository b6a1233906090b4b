#!/usr/bin/env bash
# A real Slurm of N nodes on one machine, for the tests: munged, slurmctld and one slurmd per node, each node in its own
# network, host-name, mount and process namespaces behind a bridge, so that nodes have names and addresses of their own.
#
#   slurmlab.sh start [N]     start, wait until every node is idle, print sinfo
#   slurmlab.sh stop          cancel all jobs, stop the daemons, remove namespaces and bridge (always safe to call)
#
# Prerequisites: root with NET_ADMIN, SYS_ADMIN and mknod; Debian's munge slurmctld slurmd slurm-client iproute2.
# Environment: ROOT (state, /tmp/fp-slurmlab), CPUS (8) and GPUS (4, copies of /dev/null) per node,
#              GRACE (GraceTime of the preemptible partition, 0), PROCTRACK (proctrack/cgroup where there is a freezer).
set -euo pipefail
CMD=${1:-start}
N=${2:-2}
ROOT=${ROOT:-/tmp/fp-slurmlab}
CPUS=${CPUS:-8}
GPUS=${GPUS:-4}
NET=10.77.0
# The cgroup freezer also catches processes that left their job's session; without it Slurm follows parents.
if [ -w /sys/fs/cgroup/freezer ]; then PROCTRACK=${PROCTRACK:-proctrack/cgroup}; else PROCTRACK=${PROCTRACK:-proctrack/linuxproc}; fi
H=$(hostname -s)
export SLURM_CONF=$ROOT/etc/slurm.conf

spawn() {  # a daemon: own session, own output file, pid file; keeps no lock that the caller holds on descriptors 8 and 9
  local name=$1
  shift
  setsid "$@" >"$ROOT/log/$name.out" 2>&1 </dev/null 8>&- 9>&- &
  echo $! >"$ROOT/run/$name.pid"
}

write_config() {
  local nodes=$1
  cat >"$SLURM_CONF" <<EOF
ClusterName=lab
SlurmctldHost=$H($NET.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits until its old credential has expired: 5 s instead of 120 s.
AuthInfo=socket=$ROOT/munge/sock,cred_expire=5
MpiDefault=none
ProctrackType=$PROCTRACK
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=15
ReturnToService=2
# There is no accounting database: finished jobs stay visible to scontrol.
MinJobAge=3600
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc=$ROOT/log/jobcomp.txt
StateSaveLocation=$ROOT/state
SlurmdSpoolDir=$ROOT/run/spool.%n
SlurmctldPidFile=$ROOT/run/slurmctld.own
SlurmdPidFile=$ROOT/run/slurmd.%n.own
SlurmctldLogFile=$ROOT/log/slurmctld.log
SlurmdLogFile=$ROOT/log/slurmd.%n.log
$nodes
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=REQUEUE GraceTime=${GRACE:-0}
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=100 PreemptMode=OFF
EOF
  : >"$ROOT/etc/gres.conf"
  [ "$GPUS" = 0 ] || echo "Name=gpu File=$ROOT/dev/gpu[0-$((GPUS - 1))]" >"$ROOT/etc/gres.conf"
  printf 'CgroupAutomount=no\nCgroupMountpoint=/sys/fs/cgroup\n' >"$ROOT/etc/cgroup.conf"
}

start() {
  local nodes="" i g
  ip link add slurmbr0 type bridge
  ip addr add "$NET.1/24" dev slurmbr0
  ip link set slurmbr0 up
  mkdir -p "$ROOT"/{run,log,state,etc,dev,munge}
  chmod 755 "$ROOT"
  chmod 711 "$ROOT/munge"
  for g in $(seq 0 $((GPUS - 1))); do  # gres wants real device files
    [ -e "$ROOT/dev/gpu$g" ] || mknod "$ROOT/dev/gpu$g" c 1 3
  done
  (umask 077; [ -s "$ROOT/munge/key" ] || head -c 1024 /dev/urandom >"$ROOT/munge/key")
  spawn munged munged -F --key-file="$ROOT/munge/key" --socket="$ROOT/munge/sock" --num-threads=2 \
    --pid-file="$ROOT/munge/pid" --log-file="$ROOT/munge/log" --seed-file="$ROOT/munge/seed"
  { echo "127.0.0.1 localhost"; echo "$NET.1 $H"; for i in $(seq "$N"); do echo "$NET.$((i + 1)) n$i"; done; } >"$ROOT/etc/hosts"
  for i in $(seq "$N"); do
    ip netns add "slab-n$i"
    ip link add "vn$i" type veth peer name eth0 netns "slab-n$i"
    ip link set "vn$i" master slurmbr0 up
    ip -n "slab-n$i" addr add "$NET.$((i + 1))/24" dev eth0
    ip -n "slab-n$i" link set eth0 up
    ip -n "slab-n$i" link set lo up
    nodes+="NodeName=n$i NodeAddr=$NET.$((i + 1)) CPUs=$CPUS RealMemory=65536 Gres=gpu:$GPUS State=UNKNOWN"$'\n'
  done
  write_config "$nodes"
  for _ in $(seq 50); do [ -S "$ROOT/munge/sock" ] && break; sleep .1; done
  spawn slurmctld slurmctld -D -i
  for i in $(seq "$N"); do
    mkdir -p "$ROOT/run/spool.n$i"
    # nsenter + unshare, not `ip netns exec`: that one remounts /sys and slurmd then finds no cgroup. The empty
    # resolv.conf keeps look-ups from waiting for a name server. bash is process 1 of the node and reaps orphans.
    # shellcheck disable=SC2016  # $! and $1 belong to the inner shell
    spawn "slurmd.n$i" nsenter --net="/run/netns/slab-n$i" \
      unshare --uts --mount --propagation private --pid --fork --kill-child --mount-proc \
      bash -c 'mount --bind "$1/etc/hosts" /etc/hosts; mount --bind /dev/null /etc/resolv.conf; hostname "$2"
               trap "kill \$!" TERM; slurmd -D -N "$2" & wait; wait' node "$ROOT" "n$i"
  done
  for _ in $(seq 150); do
    [ "$(sinfo -hN -t idle -p debug -o %N 2>/dev/null | sort -u | wc -l)" = "$N" ] && { sinfo; return; }
    sleep .2
  done
  tail -n 5 "$ROOT"/log/*.log >&2
  return 1
}

stop() {
  local f p
  if [ -f "$ROOT/run/slurmctld.pid" ]; then
    timeout 5 scancel -u root --full 2>/dev/null || true
    for _ in $(seq 50); do [ -z "$(timeout 3 squeue -h 2>/dev/null)" ] && break; sleep .2; done
  fi
  for f in "$ROOT"/run/{slurmd.n*,slurmctld,munged}.pid; do
    [ -f "$f" ] || continue
    p=$(cat "$f")
    case $f in *slurmd.n*) p=$(pgrep -P "$p" | head -n1 || true) ;; esac  # `unshare --fork` ignores TERM: signal its child
    [ -z "$p" ] || kill "$p" 2>/dev/null || true
  done
  for f in "$ROOT"/run/*.pid; do
    [ -f "$f" ] || continue
    p=$(cat "$f")
    for _ in $(seq 40); do kill -0 "$p" 2>/dev/null || break; sleep .1; done
    kill -9 "$p" 2>/dev/null || true
    rm -f "$f"
  done
  for p in $(ip netns list 2>/dev/null | awk '/^slab-n/{print $1}'); do ip netns del "$p"; done
  ip link del slurmbr0 2>/dev/null || true
  rmdir /sys/fs/cgroup/*/slurm_n*/ 2>/dev/null || true
}

case $CMD in
  start | stop) "$CMD" ;;
  *) echo "usage: slurmlab.sh start [N] | stop" >&2; exit 2 ;;
esac
