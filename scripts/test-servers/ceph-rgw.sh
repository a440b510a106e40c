#!/bin/bash
# A production S3 server for the integration, fault and benchmark suites: Ceph's RADOS gateway with one monitor and one OSD, all on
# 127.0.0.1, by any user, with everything it writes below one directory. Debian: apt-get install --no-install-recommends
#   radosgw ceph-mon ceph-osd ceph-common curl
#
#   ceph-rgw.sh missing                     names the programs that are not installed, one a line
#   ceph-rgw.sh up <dir> <port> [objectstore]
#       Starts what was in <dir>, or a new cluster, and prints READY when S3 answers on <port> (<port>+1 and +2 are the
#       monitor's). objectstore: memstore (the default: in memory, up in two seconds) or bluestore (on disk).
#   ceph-rgw.sh admin <dir> <arguments>     radosgw-admin against that cluster
#   ceph-rgw.sh down <dir>
#
# Pids of the daemons are in <dir>/{mon,osd,rgw}.pid, their logs in <dir>/log. The one user is `test`, with the keys S3_KEY, S3_SECRET.
set -euo pipefail

readonly PROGRAMS=(ceph ceph-mon ceph-osd monmaptool radosgw radosgw-admin curl setsid)
readonly START_DEADLINE_SECONDS=60
S3_KEY=${S3_KEY:-AKLOCALTEST00000}
S3_SECRET=${S3_SECRET:-local-secret-local-secret-local-secret}

die() {
  echo "ceph-rgw.sh: $*" >&2
  exit 1
}

missing() {
  local program
  for program in "${PROGRAMS[@]}"; do
    command -v "$program" > /dev/null || echo "$program"
  done
}

# No authentication within the cluster: it is reachable from this machine only and holds nothing.
write_configuration() {
  local fsid=$1 port=$2 objectstore=$3
  cat > "$DIR/ceph.conf" << CONF
[global]
fsid = $fsid
mon_host = [v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
ms_client_mode = crc
ms_cluster_mode = crc
run_dir = $DIR/run
admin_socket = $DIR/run/\$name.asok
crash_dir = $DIR/crash
log_file = $DIR/log/\$name.log
log_to_stderr = false
log_to_syslog = false
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
# A full disk of the machine that runs the tests is not the cluster's business.
mon_data_avail_warn = 1
mon_data_avail_crit = 1

[mon]
mon_data = $DIR/mon
mon_initial_members = a
mon_cluster_log_file = $DIR/log/cluster.log
paxos_propose_interval = 0.05

[osd]
osd_data = $DIR/osd
osd_objectstore = $objectstore
osd_memory_target = 1073741824
osd_op_num_shards = 2
memstore_device_bytes = 4294967296
bluestore_block_create = true
bluestore_block_size = 21474836480
bluestore_cache_autotune = false
bluestore_cache_size = 268435456

[client]
keyring = /dev/null

[client.rgw]
rgw_data = $DIR/rgw
# Without tcp_nodelay each GET waits for the other side's delayed acknowledgement, 40 ms.
rgw_frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw_thread_pool_size = 64
rgw_enable_usage_log = false
rgw_enable_ops_log = false
rgw_run_sync_thread = false
# The default holds a user's or bucket's quota, and a suspension, in a cache for ten minutes.
rgw_bucket_quota_ttl = 0
rgw_cache_enabled = false
CONF
}

# start <name> <program> <arguments>: in a session of its own, so that a signal to the test's group does not reach it.
start() {
  local name=$1
  shift
  setsid "$@" > "$DIR/log/$name.out" 2>&1 &
  echo $! > "$DIR/$name.pid"
}

# await <name> <command>: until the command succeeds; fails when the daemon has died or time is up.
await() {
  local name=$1 deadline=$((SECONDS + START_DEADLINE_SECONDS))
  shift
  until "$@" >> "$DIR/log/setup.log" 2>&1; do
    kill -0 "$(< "$DIR/$name.pid")" 2> /dev/null || die "$name has died, see $DIR/log/$name.out"
    ((SECONDS < deadline)) || die "$name is not up after $START_DEADLINE_SECONDS s, see $DIR/log"
    sleep 0.1
  done
}

osd_is_up() { ceph osd stat | grep -q '1 up'; }

up() {
  local port=$1 objectstore=${2:-memstore} fresh=
  local absent
  absent=$(missing)
  [[ -z $absent ]] || die "not installed: ${absent//$'\n'/ }"
  if [[ ! -f $DIR/ceph.conf ]]; then
    fresh=yes
    mkdir -p "$DIR"/{mon,osd,rgw,run,log,crash}
    local fsid
    fsid=$(< /proc/sys/kernel/random/uuid)
    write_configuration "$fsid" "$port" "$objectstore"
    monmaptool --create --clobber --fsid "$fsid" --addv a "[v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]" \
      "$DIR/monmap" >> "$DIR/log/setup.log" 2>&1
    ceph-mon --mkfs -i a --monmap "$DIR/monmap" >> "$DIR/log/setup.log" 2>&1
  fi
  start mon ceph-mon -i a -f
  await mon ceph --connect-timeout 2 mon stat
  if [[ -n $fresh ]]; then
    local osd_uuid
    osd_uuid=$(< /proc/sys/kernel/random/uuid)
    ceph osd new "$osd_uuid" >> "$DIR/log/setup.log" 2>&1
    ceph-osd -i 0 --mkfs --osd-uuid "$osd_uuid" >> "$DIR/log/setup.log" 2>&1
  fi
  start osd ceph-osd -i 0 -f
  await osd osd_is_up
  start rgw radosgw -n client.rgw -f
  await rgw curl -s -o /dev/null --max-time 2 "http://127.0.0.1:$port/"
  if [[ -n $fresh ]]; then
    admin user create --uid=test --display-name=test --access-key="$S3_KEY" --secret-key="$S3_SECRET" \
      --max-buckets=10000 >> "$DIR/log/setup.log" 2>&1
  fi
  echo "READY http://127.0.0.1:$port"
}

admin() { radosgw-admin -n client.rgw "$@"; }

down() {
  local name pid
  for name in rgw osd mon; do
    [[ -f $DIR/$name.pid ]] || continue
    pid=$(< "$DIR/$name.pid")
    kill -TERM "$pid" 2> /dev/null || true
    # A daemon that a test has stopped must go on to end.
    kill -CONT "$pid" 2> /dev/null || true
    for _ in {1..50}; do
      kill -0 "$pid" 2> /dev/null || break
      sleep 0.1
    done
    kill -KILL "$pid" 2> /dev/null || true
    rm -f "$DIR/$name.pid"
  done
}

command=${1:?missing, up, admin or down}
shift
if [[ $command == missing ]]; then
  missing
  exit
fi
DIR=$(realpath -m "${1:?the directory of the cluster}")
shift
export CEPH_CONF=$DIR/ceph.conf CEPH_ARGS="--conf=$DIR/ceph.conf"
case $command in
  up) up "$@" ;;
  admin) admin "$@" ;;
  down) down ;;
  *) die "no such command: $command" ;;
esac
