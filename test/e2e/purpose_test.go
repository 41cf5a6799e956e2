package e2e_test

import (
	"strings"
	"testing"
)

// letters is what a purpose says.
func letters() vars {
	return vars{
		"term": "dpv:DirectMarketing", "legalBasis": "eu-gdpr:A6-1-a", "marketing": true, "optional": true, "validityMonths": 24,
		"texts": []vars{
			{"language": "da", "name": "Nyhedsbrev", "description": "Vi sender dig nyt."},
			{"language": "en", "name": "Newsletter", "description": "We send you news."},
		},
		"data": []vars{{"term": "pd:EmailAddress", "class": "ORDINARY"}},
	}
}

// aboutLetters is what a notice of it says.
func aboutLetters(key string) vars {
	return vars{
		"purposes": []string{key}, "jurisdiction": "DK", "storageLocations": []string{"DK"}, "processingLocations": []string{"DK"},
		"rights": []string{"eu-gdpr:A7-3", "eu-gdpr:A77"}, "operations": []string{"dpv:Use"}, "recipients": []vars{},
		"controllers": []vars{{
			"id": "CVR 12345674", "role": "dpv:DataController", "name": "Eksempel ApS", "address": "Vej 1, 1000 By", "country": "DK",
			"contact": "kontakt@eksempel.example",
		}},
		"authority": vars{
			"id": "DT", "type": "AUTHORITY", "role": "dpv:DataProtectionAuthority", "name": "Datatilsynet", "address": "By", "country": "DK",
			"contact": "www.datatilsynet.dk",
		},
		"texts": []vars{
			{"language": "da", "title": "Nyt fra os", "body": "Må vi?", "collection": "Du skriver den.", "withdrawal": "Klik på linket.", "retention": "To år."},
			{"language": "en", "title": "News", "body": "May we?", "collection": "You type it.", "withdrawal": "Follow the link.", "retention": "Two years."},
		},
	}
}

// purposeAndNotice makes and publishes a purpose with its notice,
// and returns their ids.
func purposeAndNotice(t *testing.T, c client, key string) (purpose, notice string) {
	t.Helper()
	type made struct {
		ID   string
		Edit int
	}
	p := ask[struct{ CreatePurpose struct{ Purpose made } }](t, c,
		`mutation($input: CreatePurposeInput!) { createPurpose(input: $input) { purpose { id edit } } }`,
		vars{"input": vars{"key": key, "content": letters()}}).CreatePurpose.Purpose
	ask[any](t, c, `mutation($input: PublishPurposeInput!) { publishPurpose(input: $input) { purpose { id } } }`,
		vars{"input": vars{"id": p.ID, "expectedEdit": p.Edit}})
	n := ask[struct{ CreateNotice struct{ Notice made } }](t, c,
		`mutation($input: CreateNoticeInput!) { createNotice(input: $input) { notice { id edit } } }`,
		vars{"input": vars{"key": key, "content": aboutLetters(key)}}).CreateNotice.Notice
	ask[any](t, c, `mutation($input: PublishNoticeInput!) { publishNotice(input: $input) { notice { id } } }`,
		vars{"input": vars{"id": n.ID, "expectedEdit": n.Edit}})
	got := ask[struct {
		Purpose struct {
			State        string
			ConsentBased bool
			CoolDown     int `json:"coolDownMonths"`
		}
		Notices struct {
			Nodes []struct {
				ID    string
				State string
				Texts []struct{ ContentHash string }
			}
		}
	}](t, c, `query($key: String!) {
		purpose(key: $key) { state consentBased coolDownMonths }
		notices(purpose: $key) { nodes { id state texts { contentHash } } }
	}`, vars{"key": key})
	if !got.Purpose.ConsentBased || got.Purpose.State != "PUBLISHED" || got.Purpose.CoolDown != 6 || len(got.Notices.Nodes) != 1 ||
		got.Notices.Nodes[0].ID != n.ID || len(strings.TrimSpace(got.Notices.Nodes[0].Texts[1].ContentHash)) != 64 {
		t.Errorf("made %+v", got)
	}
	return p.ID, n.ID
}

// Whoever is asked for consent sees the notice without signing in, and learns by
// its hash that it is the one that was published.
func TestNoticesAreShownToEverybody(t *testing.T) {
	p := running(t)
	const key = "shown.letters"
	_, notice := purposeAndNotice(t, p.machine(t, first), key)
	anybody := client{base: p.stack.Env().API}
	const document = `query($slug: String!, $key: String!, $language: String) {
		currentNotice(tenantSlug: $slug, purpose: $key, language: $language) {
			notice { id controllers { name } rights } purposes { key texts { language name } } text { language title contentHash }
		}
	}`
	type shown struct {
		CurrentNotice struct {
			Notice   struct{ ID string }
			Purposes []struct{ Key string }
			Text     struct{ Language, Title, ContentHash string }
		}
	}
	for language, title := range map[string]string{"da-DK": "Nyt fra os", "en": "News", "fr": "Nyt fra os"} {
		got := ask[shown](t, anybody, document, vars{"slug": p.slug(t, first), "key": key, "language": language}).CurrentNotice
		if got.Notice.ID != notice || got.Text.Title != title || len(got.Text.ContentHash) != 64 || len(got.Purposes) != 1 || got.Purposes[0].Key != key {
			t.Errorf("in %s: shown %+v", language, got)
		}
	}
	if code := refused(t, anybody, document, vars{"slug": p.slug(t, second), "key": key}); code != "NOT_FOUND" {
		t.Errorf("of another tenant: %s", code)
	}
}
