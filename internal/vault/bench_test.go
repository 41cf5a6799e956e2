package vault_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/vault"
)

func BenchmarkSeal32(b *testing.B) {
	keys := newRig(b).ensure(b, anna)
	v := personal.String("thirty-two bytes of a plain text")
	for b.Loop() {
		if _, err := keys.Seal(anna, place, v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen32(b *testing.B) {
	keys := newRig(b).ensure(b, anna)
	sealed := seal(b, keys, anna, place, personal.String("thirty-two bytes of a plain text"))
	for b.Loop() {
		if _, err := keys.Open(anna, place, sealed); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNewSubject makes the keys of 100 new subjects at once, as an import
// does, and seals ten fields under each.
func BenchmarkNewSubject(b *testing.B) {
	r := newRig(b)
	r.ensure(b, anna) // the epoch and the tenant's key are there
	v := personal.String("thirty-two bytes of a plain text")
	fields := make([]vault.Place, 10)
	for i := range fields {
		fields[i] = vault.Place{Collection: "records", Record: "rec_1", Field: fmt.Sprintf("fld_%d", i)}
	}
	batch := make([]vault.Owner, 100)
	for n := 0; b.Loop(); n++ {
		for i := range batch {
			batch[i] = vault.Owner{Tenant: one, Subject: fmt.Sprintf("sub_%d_%d", n, i), Unit: vault.Identity}
		}
		keys := r.ensure(b, batch...)
		for _, o := range batch {
			for _, p := range fields {
				if _, err := keys.Seal(o, p, v); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch)), "ns/subject")
}

// BenchmarkLoad opens the key of one subject that is not cached, of a page of 100.
func BenchmarkLoad(b *testing.B) {
	r := newRig(b)
	page := make([]vault.Owner, 100)
	for i := range page {
		page[i] = vault.Owner{Tenant: one, Subject: fmt.Sprintf("sub_%d", i), Unit: vault.Identity}
	}
	r.ensure(b, page...)
	for b.Loop() {
		r.Evict(page...)
		load(b, r.Vault, page...)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(page)), "ns/key")
}

func BenchmarkDigest(b *testing.B) {
	x, err := newRig(b).Index(b.Context(), one)
	if err != nil {
		b.Fatal(err)
	}
	v := personal.NewText("anna@example.com")
	for b.Loop() {
		if _, err := x.Digest("email", 1, v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSealStream(b *testing.B) {
	keys := newRig(b).ensure(b, anna)
	w, err := keys.SealStream(anna, file, io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	block := text(chunk)
	b.SetBytes(chunk)
	for b.Loop() {
		if _, err := w.Write(block); err != nil {
			b.Fatal(err)
		}
	}
}
