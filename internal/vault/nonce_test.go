package vault_test

import (
	"bytes"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/vogter/vogter/internal/personal"
)

// Under one key no nonce comes twice, and each of its bits is set half of the
// time, within six standard deviations.
func TestNonces(t *testing.T) {
	count := 200_000
	if os.Getenv("VOGTER_SCALE") == "full" {
		count = 10_000_000
	}
	const header, size = 18, 12
	r := newRig(t)
	keys := r.ensure(t, anna)
	nonces, set := make([][size]byte, count), [8 * size]int{}
	for i := range nonces {
		nonces[i] = [size]byte(seal(t, keys, anna, place, personal.Bool(true))[header : header+size])
		for bit := range set {
			set[bit] += int(nonces[i][bit/8] >> (bit % 8) & 1)
		}
	}
	limit := 6 * math.Sqrt(float64(count)) / 2
	for bit, n := range set {
		if math.Abs(float64(n)-float64(count)/2) > limit {
			t.Errorf("bit %d is set in %d of %d nonces", bit, n, count)
		}
	}
	slices.SortFunc(nonces, func(a, b [size]byte) int { return bytes.Compare(a[:], b[:]) })
	for i := 1; i < count; i++ {
		if nonces[i] == nonces[i-1] {
			t.Fatal("a nonce was used twice")
		}
	}
	t.Logf("%d nonces, none twice", count)
}
