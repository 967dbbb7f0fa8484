package job

// Kinds of Webhook.
const (
	WebhookRaw     = "raw"     // events as JSON
	WebhookDiscord = "discord" // messages for people
)

// Webhook is a receiver of a run's events. It is not part of Job, because it holds secrets.
type Webhook struct {
	// Type is WebhookRaw or WebhookDiscord.
	Type string `json:"type"`
	URL  string `json:"url"`
	// Prefix is put in front of Discord messages.
	Prefix string `json:"prefix,omitempty"`
	// Level is the least severity that is sent: "debug", "info", "warning", "error" or "critical".
	Level string `json:"level"`
	// AuthToken is sent as X-API-Key; Secret signs every request.
	AuthToken string `json:"auth_token,omitempty"`
	Secret    string `json:"secret,omitempty"`
	// SkipVerify accepts any certificate; for hosts that the operator allowed only.
	SkipVerify bool `json:"ssl_no_verify,omitempty"`
	// Interval is the number of steps between reports of progress; 0: every step.
	Interval int64 `json:"interval,omitempty"`
}
