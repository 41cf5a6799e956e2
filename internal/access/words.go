package access

import "github.com/vogter/vogter/internal/processing"

// text has what papers say of what isn't in data, in one language.
type text struct {
	Identity, Controller, Direct string
	None, NoDate, NoRule, AsLong string
	Recipient, Regular, Category string
	Origins                      map[string]string // of records
	Tools                        map[processing.TransferTool]string
}

func words(language string) text {
	if language == "en" {
		return text{
			Identity:   "Who you are: name, contact details and identifiers",
			Controller: "You, or the controller's registration of you",
			Direct:     "Your data can't be sent from here straight to somebody else. You can hand over the package yourself: its form is open and documented in it.",
			None:       "None.", NoDate: "No date is settled", NoRule: "Until it is no longer needed for the purposes in point (a)",
			AsLong:    "As long as anything else about you is kept",
			Recipient: "Recipient", Regular: "Data of this kind, by the purposes in point (a)", Category: "A category of recipients: no single one is registered",
			Origins: map[string]string{
				"PROVIDED": "You", "OBSERVED": "Observed from your use", "DERIVED": "Worked out from other data", "THIRD_PARTY": "Somebody else",
			},
			Tools: map[processing.TransferTool]string{
				processing.Adequacy: "adequacy decision, Article 45", processing.SCC: "standard contractual clauses, Article 46(2)(c)",
				processing.BCR: "binding corporate rules, Article 47", processing.DPF: "EU-US Data Privacy Framework, Article 45",
				processing.Art49: "derogation, Article 49", processing.Other46: "other safeguards, Article 46",
			},
		}
	}
	return text{
		Identity:   "Hvem du er: navn, kontaktoplysninger og identifikatorer",
		Controller: "Dig selv, eller den dataansvarliges registrering af dig",
		Direct:     "Oplysningerne kan ikke sendes herfra direkte til en anden. Du kan selv give pakken videre: dens format er åbent og beskrevet i den.",
		None:       "Ingen.", NoDate: "Ingen dato er fastsat", NoRule: "Indtil de ikke længere er nødvendige til formålene i punkt (a)",
		AsLong:    "Så længe andet om dig opbevares",
		Recipient: "Modtager", Regular: "Oplysninger af denne slags, til formålene i punkt (a)", Category: "En kategori af modtagere: ingen enkelt er registreret",
		Origins: map[string]string{
			"PROVIDED": "Dig selv", "OBSERVED": "Iagttaget ved din brug", "DERIVED": "Udledt af andre oplysninger", "THIRD_PARTY": "En anden",
		},
		Tools: map[processing.TransferTool]string{
			processing.Adequacy: "tilstrækkelighedsafgørelse, artikel 45", processing.SCC: "standardkontraktbestemmelser, artikel 46, stk. 2, litra c",
			processing.BCR: "bindende virksomhedsregler, artikel 47", processing.DPF: "EU-US Data Privacy Framework, artikel 45",
			processing.Art49: "undtagelse, artikel 49", processing.Other46: "andre garantier, artikel 46",
		},
	}
}
