#!/bin/bash
# cards.sh — finding cards, EDID, connectors, analogue standards, fields and lent buffers (tests/card.rs) on the bench machine, against
# two virtual cards.
#
#   tests/vm/cards.sh
#
# Env: as for run.sh; ONAIRD_CARD_TEST  the built tests/card.rs (default: built now)
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
project=$(readlink -f "$here/../..")
export ONAIRD_VM_CACHE=${ONAIRD_VM_CACHE:-$project/target/vm}

test=${ONAIRD_CARD_TEST:-}
if [ -z "$test" ]; then
  test=$(cd "$project" && cargo test --locked --no-run --test card --message-format=json |
    jq -r 'select(.profile.test and .target.name == "card") | .executable')
fi
[ -x "$test" ] || { echo "cards.sh: tests/card.rs was not built" >&2; exit 1; }

mkdir -p "$ONAIRD_VM_CACHE"
out=$(mktemp -d "$(readlink -f "$ONAIRD_VM_CACHE")/cards.XXXXXX")
cp "$test" "$out/card"
cp "$project/udev/70-onaird.rules" "$out/"
cat >"$out/guest" <<'GUEST'
#!/bin/bash
set -euo pipefail
cp /out/70-onaird.rules /usr/lib/udev/rules.d/
udevadm control --reload
# The first card has an output beside its input; the second one an antenna, S-Video and HDMI (two bits each, from the lowest).
modprobe vivid n_devs=2 node_types=0x101,0x1 num_inputs=1,3 input_types=0x3,0x39 ccs_cap_mode=0,0
udevadm settle
ls -lR /dev/onair
/out/card --ignored --test-threads=1 --nocapture --skip lent
# Two cards with HDMI: one with an output, the other one of the multi-planar kind.
modprobe -r vivid
modprobe vivid n_devs=2 node_types=0x101,0x1 num_inputs=1,1 input_types=0x3,0x3 num_outputs=1,1 output_types=0x1,0x1 \
  ccs_cap_mode=0,0 ccs_out_mode=0,0 multiplanar=1,2
udevadm settle
/out/card --ignored --test-threads=1 --nocapture lent
GUEST
chmod +x "$out/guest"
"$here/run.sh" -o "$out" -- /out/guest
rm -rf "$out"
