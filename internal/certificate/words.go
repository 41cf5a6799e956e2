package certificate

import "github.com/vogter/vogter/internal/paper"

// words are what the paper says, in one language.
type words struct {
	certificate, statement, intro, number, controller, processor, request, item, person, ground, plan string
	preparedBy, approvedBy, erasure, rules, software, issued, scope, unit, classes, systems, methods  string
	unreadable, steps, step, at, counted, kept, why, law, until, open, recipients, recipient, result  string
	backups, irrecoverable, horizon, ledger, ledgerSum, check, digest, howToCheck, reach, identity    string
	gone, certificateNumber, certificateSum, epochs                                                   string
	units, class, system, method, stepNames, reasons, results                                         map[string]string
}

// wordsIn returns the words of a language, English for one that isn't known, and
// which it is.
func wordsIn(language string) (words, string) {
	if language == paper.Danish {
		return danish(), paper.Danish
	}
	return english(), paper.English
}

func english() words {
	return words{
		certificate: "Certificate of erasure", statement: "Statement that erased data can't be brought back",
		intro:  "The controller states that the data named here were erased. The certificate restates nothing of what was erased.",
		number: "Number", controller: "Controller", processor: "Processor", request: "Request", item: "Part of the request", person: "Person, by a pseudonym",
		ground: "Ground", plan: "Approved plan (SHA-256)", preparedBy: "Prepared by", approvedBy: "Approved by", erasure: "Erasure", rules: "Decided by",
		software: "Software", issued: "Issued", scope: "What was erased", unit: "Data", classes: "Categories", systems: "Where", methods: "How",
		unreadable: "Nobody has been able to read the data since %s.", steps: "Steps", step: "Step", at: "Done",
		counted: "After the erasure what was left in each place was counted: nothing.",
		kept:    "What wasn't erased", why: "Why", law: "By", until: "To be gone on", open: "Once the reason no longer exists",
		recipients: "Recipients of the data (Art. 19)", recipient: "Recipient", result: "Result", backups: "Backups",
		irrecoverable: "From %s on, by plan, nobody can bring the data back from any backup: the last key that could is destroyed by then. Statement %s will say when that has happened.",
		horizon:       "The last backup made before the erasure is gone after %s days at most. A backup that is restored is erased again, from a ledger outside of it, before it is used.",
		ledger:        "Entry of the ledger of erasures", ledgerSum: "Its SHA-256", check: "How to check this", digest: "SHA-256 of what was signed",
		howToCheck: "Hand this or the signed text in it, to the controller's page for checking, or to the program vogter: vogter verify. Both tell what was signed. The pages themselves aren't signed.",
		reach:      "This document speaks of the data that the right to be erased reaches and that the person may be told of. It says that what it names was erased, not that nothing else exists.",
		identity:   "What identifies the person: name, contact details and identifiers",
		gone:       "What certificate %s says was erased can't be brought back by anybody any more, from any backup, since %s: every key that could is destroyed.", certificateNumber: "Certificate", certificateSum: "SHA-256 of what it says",
		epochs: "Keys destroyed, by the time they are from",
		units:  map[string]string{"evidence": "Proof that the law was obeyed"},
		class: map[string]string{
			"ORDINARY": "ordinary", "ART9": "special categories (Art. 9)", "ART10": "offences (Art. 10)", "NATIONAL_ID": "national identity number", "CONFIDENTIAL": "confidential",
		},
		system: map[string]string{}, method: map[string]string{"CRYPTO_SHRED": "keys destroyed", "DELETE": "deleted"},
		stepNames: map[string]string{
			"INTENT": "entered in the ledger", "KEYS": "keys destroyed", "CACHES": "keys dropped from memory", "LOOKUPS": "indexes", "DATA": "records, files and packages",
			"COUNT": "counted to zero", "LEDGER": "end entered in the ledger",
		},
		reasons: map[string]string{
			"MINIMUM": "The law demands that it is kept", "WITHIN": "Its period isn't over", "PENDING": "The event from which its period counts hasn't happened", "HOLD": "A legal claim or an authority's demand",
			"RESTRICTED": "Restricted", "OTHER_PARTS": "Needed as long as the other data is kept", "NO_MAXIMUM": "No rule demands that it goes", "NO_RULE": "No rule demands that it goes",
		},
		results: map[string]string{"TO_BE_TOLD": "To be told"},
	}
}

func danish() words {
	return words{
		certificate: "Sletteattest", statement: "Erklæring om, at slettede oplysninger ikke kan genskabes",
		intro:  "Den dataansvarlige erklærer, at de oplysninger, der er nævnt her, er slettet. Attesten gengiver intet af det slettede.",
		number: "Nummer", controller: "Dataansvarlig", processor: "Databehandler", request: "Anmodning", item: "Del af anmodningen", person: "Person, ved et pseudonym",
		ground: "Grundlag", plan: "Godkendt plan (SHA-256)", preparedBy: "Forberedt af", approvedBy: "Godkendt af", erasure: "Sletning", rules: "Afgjort efter",
		software: "Program", issued: "Udstedt", scope: "Hvad der er slettet", unit: "Oplysninger", classes: "Kategorier", systems: "Hvor", methods: "Hvordan",
		unreadable: "Ingen har kunnet læse oplysningerne siden %s.", steps: "Trin", step: "Trin", at: "Udført",
		counted: "Efter sletningen blev det talt, hvad der var tilbage hvert sted: intet.",
		kept:    "Hvad der ikke er slettet", why: "Hvorfor", law: "Efter", until: "Slettes den", open: "Når grunden er bortfaldet",
		recipients: "Modtagere af oplysningerne (artikel 19)", recipient: "Modtager", result: "Resultat", backups: "Sikkerhedskopier",
		irrecoverable: "Fra %s kan ingen efter planen genskabe oplysningerne fra nogen sikkerhedskopi: den sidste nøgle, der kunne, er da destrueret. Erklæring %s vil sige, hvornår det er sket.",
		horizon:       "Den sidste sikkerhedskopi fra før sletningen er væk efter højst %s dage. En kopi, der genindlæses, slettes igen efter en fortegnelse uden for den, før den tages i brug.",
		ledger:        "Post i fortegnelsen over sletninger", ledgerSum: "Dens SHA-256", check: "Sådan kontrolleres attesten", digest: "SHA-256 af det underskrevne",
		howToCheck: "Giv denne fil, eller den underskrevne tekst i den, til den dataansvarliges side til kontrol, eller til programmet vogter: vogter verify. Begge viser, hvad der er underskrevet. Siderne selv er ikke underskrevet.",
		reach:      "Dokumentet omhandler de oplysninger, som retten til sletning omfatter, og som personen kan få oplyst. Det siger, at det nævnte er slettet, ikke at intet andet findes.",
		identity:   "Hvad der identificerer personen: navn, kontaktoplysninger og identifikatorer",
		gone:       "Hvad attest %s siger er slettet, kan ingen genskabe fra nogen sikkerhedskopi siden %s: alle nøgler, der kunne, er destrueret.", certificateNumber: "Attest", certificateSum: "SHA-256 af dens indhold",
		epochs: "Destruerede nøgler, efter den tid de er fra",
		units:  map[string]string{"evidence": "Dokumentation for, at loven er fulgt"},
		class: map[string]string{
			"ORDINARY": "almindelige", "ART9": "særlige kategorier (artikel 9)", "ART10": "strafbare forhold (artikel 10)", "NATIONAL_ID": "nationalt identifikationsnummer", "CONFIDENTIAL": "fortrolige",
		},
		system: map[string]string{systemKeys: "nøglelager", systemData: "dokumentlager", systemObjects: "objektlager, alle versioner"},
		method: map[string]string{"CRYPTO_SHRED": "nøgler destrueret", "DELETE": "slettet"},
		stepNames: map[string]string{
			"INTENT": "indført i fortegnelsen", "KEYS": "nøgler destrueret", "CACHES": "nøgler fjernet fra hukommelsen", "LOOKUPS": "indeks", "DATA": "poster, filer og pakker",
			"COUNT": "talt til nul", "LEDGER": "afslutning indført i fortegnelsen",
		},
		reasons: map[string]string{
			"MINIMUM": "Loven kræver, at de gemmes", "WITHIN": "Deres frist er ikke udløbet", "PENDING": "Det, fristen regnes fra, er ikke sket", "HOLD": "Et retskrav eller et krav fra en myndighed",
			"RESTRICTED": "Begrænset", "OTHER_PARTS": "Nødvendige, så længe de øvrige oplysninger gemmes", "NO_MAXIMUM": "Ingen regel kræver dem slettet", "NO_RULE": "Ingen regel kræver dem slettet",
		},
		results: map[string]string{"TO_BE_TOLD": "Underrettes"},
	}
}
