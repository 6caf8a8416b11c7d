#!/bin/bash
# Installs what a purpose needs and this machine does not have (Debian 12 and its kin).
#
#   install.sh build    compiler, PostgreSQL's headers, the courier's libraries
#   install.sh demo     that, a PostgreSQL server, and a Kafka where Java can be had
#   install.sh test     that, and the test tools; an OPA in build/opa where there is a Go, and
#                       playwright-core in build/webui where there is an npm
#
# Does nothing, and asks no network, where everything is there.  Runs apt-get as root or
# through sudo.  A PostgreSQL that is installed already is neither upgraded nor restarted;
# one that is installed here gets no cluster of its own and is not started, nor is PgBouncer or
# Prometheus.
set -euo pipefail

purpose=${1:-}
pg_config=${PG_CONFIG:-pg_config}
cluster_conf=/etc/postgresql-common/createcluster.conf
start_policy=/usr/sbin/policy-rc.d
opa_version=1.22.2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
opa_dir=$root/build/opa
web_dir=$root/build/webui
hold_line='create_main_cluster = false'
needed=()
wanted=()

case $purpose in
	build | demo | test) ;;
	*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
esac

has_command()
{
	command -v "$1" >/dev/null 2>&1
}

# need PACKAGE TEST...: notes the package where the test fails.
need()
{
	"${@:2}" >/dev/null 2>&1 || needed+=("$1")
}

has_library()
{
	has_command pkg-config && pkg-config --exists "$1"
}

has_pg_headers()
{
	[ -e "$("$pg_config" --pgxs)" ] && [ -e "$("$pg_config" --includedir-server)/postgres.h" ]
}

has_pg_program()
{
	[ -x "$("$pg_config" --bindir)/$1" ] || [ -x "/usr/lib/postgresql/$pg_version/bin/$1" ]
}

has_pgtap()
{
	[ -e "/usr/share/postgresql/$pg_version/extension/pgtap.control" ] ||
		[ -e "$("$pg_config" --sharedir)/extension/pgtap.control" ]
}

has_perl_module()
{
	has_command perl && perl -M"$1" -e 1
}

# Newest first: PostgreSQL's headers bring a clang, but not what its fuzzer needs.
find_clang()
{
	local version
	for version in {19..14}; do
		! has_command "clang-$version" || { clang_version=$version; return; }
	done
	clang_version=14
}

has_fuzzer()
{
	compgen -G "/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a"
}

find_pg_version()
{
	pg_version=$({ "$pg_config" --version 2>/dev/null || true; } |
		sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p')
	: "${pg_version:=15}"
}

collect_build()
{
	need gcc has_command cc
	need libc6-dev test -e /usr/include/stdio.h
	need make has_command make
	need pkg-config has_command pkg-config
	need "postgresql-server-dev-$pg_version" has_pg_headers
	need libpq-dev has_library libpq
	need libcurl4-openssl-dev has_library libcurl
	need libjson-c-dev has_library json-c
	need librdkafka-dev has_library rdkafka
	need libssl-dev has_library libcrypto
	need libmicrohttpd-dev has_library libmicrohttpd
	need zlib1g-dev has_library zlib
}

collect_demo()
{
	need "postgresql-$pg_version" has_pg_program initdb
	need "postgresql-client-$pg_version" has_pg_program psql
	need python3 has_command python3
	need curl has_command curl
	need kcat has_command kcat
	need procps has_command ps
	# A broker is there without Java, too: these may fail.
	has_command java || wanted+=(openjdk-17-jre-headless)
	has_command mvn || wanted+=(maven)
}

collect_test()
{
	need "postgresql-$pg_version-pgtap" has_pgtap
	need libtap-parser-sourcehandler-pgtap-perl has_command pg_prove
	need libipc-run-perl has_perl_module IPC::Run
	need perl has_perl_module Test::More
	need openssl has_command openssl
	need pgbouncer test -x /usr/sbin/pgbouncer
	need prometheus has_command promtool
	need python3-yaml python3 -c 'import yaml'
	# Tests that miss these say so: the packages may have other names elsewhere.
	find_clang
	has_command "clang-$clang_version" || wanted+=("clang-$clang_version")
	has_fuzzer >/dev/null || wanted+=("libclang-rt-$clang_version-dev")
	has_command node || wanted+=(nodejs)
	has_command npm || wanted+=(npm)
	[ -x /usr/bin/chromium ] || wanted+=(chromium)
}

apt()
{
	local -a as_root=()
	[ "$(id -u)" = 0 ] || as_root=(sudo)
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq \
		-o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold "$@"
}

# A first server makes and starts a cluster on the default port, unless told not to.  The word
# is taken back afterwards: a server that the user installs later is the user's own matter.
hold_back_cluster()
{
	case " ${needed[*]} " in
		*" postgresql-$pg_version "*) ;;
		*) return ;;
	esac
	! grep -qsx "$hold_line" "$cluster_conf" || return 0
	as_root_sh "mkdir -p ${cluster_conf%/*} && echo '$hold_line' >>$cluster_conf"
	held_back=yes
}

release_cluster()
{
	[ -z "${held_back:-}" ] || as_root_sh "sed -i '/^$hold_line\$/d' $cluster_conf"
	held_back=
}

# A package may start what it installs; not here, where it serves private instances alone.
hold_back_services()
{
	case " ${needed[*]} " in
		*" pgbouncer "* | *" prometheus "*) ;;
		*) return ;;
	esac
	[ ! -e "$start_policy" ] || return 0
	as_root_sh "printf '#!/bin/sh\nexit 101\n' >$start_policy && chmod 755 $start_policy"
	services_held=yes
}

release_services()
{
	[ -z "${services_held:-}" ] || as_root_sh "rm -f $start_policy"
	services_held=
}

as_root_sh()
{
	if [ "$(id -u)" = 0 ]; then sh -c "$1"; else sudo sh -c "$1"; fi
}

install_packages()
{
	echo "installing: $*"
	apt install -y --no-install-recommends "$@" >"$log" 2>&1
}

has_opa()
{
	[ -x "$opa_dir/opa" ] && "$opa_dir/opa" version | grep -qx "Version: $opa_version"
}

# From Go's modules; a Go that is too old for it says so.  Tests that miss it say so, too.
build_opa()
{
	! has_opa || return 0
	if ! has_command go; then
		echo "install.sh: no Go to build OPA $opa_version with: what needs it is left out" >&2
		return
	fi
	echo "building: OPA $opa_version"
	mkdir -p "$opa_dir"
	if ! GOBIN=$opa_dir go install "github.com/open-policy-agent/opa@v$opa_version" \
		>"$opa_dir/log" 2>&1 || ! has_opa; then
		tail -5 "$opa_dir/log" >&2
		echo "install.sh: could not build OPA $opa_version: what needs it is left out" >&2
	fi
}

has_playwright()
{
	cmp -s "$root/webui/package.json" "$web_dir/package.json" &&
		[ -e "$web_dir/node_modules/playwright-core/package.json" ]
}

# What drives the Chromium in tests; its package brings no browser.
fetch_playwright()
{
	[ "$purpose" = test ] && ! has_playwright || return 0
	if ! has_command npm; then
		echo "install.sh: no npm to fetch playwright-core with: what needs it is left out" >&2
		return
	fi
	echo "fetching: playwright-core"
	mkdir -p "$web_dir"
	cp "$root/webui/package.json" "$web_dir/package.json"
	if ! npm install --prefix "$web_dir" --no-audit --no-fund --no-package-lock \
		>"$web_dir/log" 2>&1 || ! has_playwright; then
		rm -f "$web_dir/package.json"
		tail -5 "$web_dir/log" >&2
		echo "install.sh: could not fetch playwright-core: what needs it is left out" >&2
	fi
}

find_pg_version
collect_build
[ "$purpose" = build ] || collect_demo
[ "$purpose" != test ] || { collect_test; build_opa; }
if [ ${#needed[@]} -eq 0 ] && [ ${#wanted[@]} -eq 0 ]; then
	fetch_playwright
	exit
fi

if ! has_command apt-get || { [ "$(id -u)" != 0 ] && ! has_command sudo; }; then
	echo "install.sh: cannot install packages here (no apt-get, or neither root nor sudo)" >&2
	[ ${#needed[@]} -eq 0 ] || echo "missing: ${needed[*]}" >&2
	[ ${#wanted[@]} -eq 0 ] || echo "wanted, for a real Kafka, for fuzzing or for the web tests: ${wanted[*]}" >&2
	[ ${#needed[@]} -eq 0 ]
	exit
fi

log=$(mktemp)
trap 'release_cluster; release_services; rm -f "$log"' EXIT
apt update >"$log" 2>&1 || true
hold_back_cluster
hold_back_services
if [ ${#needed[@]} -gt 0 ] && ! install_packages "${needed[@]}"; then
	tail -15 "$log" >&2
	echo "install.sh: could not install: ${needed[*]}" >&2
	exit 1
fi
# One by one: a package of another name here takes no other with it.
for package in "${wanted[@]}"; do
	install_packages "$package" ||
		echo "install.sh: could not install $package: what needs it is left out" >&2
done
fetch_playwright
