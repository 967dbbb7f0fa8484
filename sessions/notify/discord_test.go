package notify

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
)

func discord(r *receiver) job.Webhook {
	return job.Webhook{Type: job.WebhookDiscord, URL: r.server.URL + "/api/webhooks/1/token", Prefix: "run-7:", Level: "info"}
}

type discordBody struct {
	Content         string `json:"content"`
	AllowedMentions struct {
		Parse []string `json:"parse"`
	} `json:"allowed_mentions"`
}

func TestDiscordGetsMessagesForPeople(t *testing.T) {
	dir := t.TempDir()
	m := openManager(t, dir)
	quiet, talkative := newReceiver(t, nil), newReceiver(t, func(w http.ResponseWriter, number int, _ received) {
		if number == 2 {
			w.Header().Set("Retry-After", "0.5")
			w.WriteHeader(429)
		}
	})
	often := discord(talkative)
	often.Interval = 10
	s := train(t, m, dir, discord(quiet), often)
	clock := newFakeClock()
	start(t, m, Options{Clock: clock})
	clock.next(t)
	events, err := s.Events(testContext(t), 0, 1000)
	require.NoError(t, err)
	want := 0
	for _, e := range events {
		if payload, _ := encodeTest(s, e); payload.Severity != "debug" && e.Kind != sessions.KindStep {
			want++
		}
	}
	got := quiet.wait(t, func(got []received) bool { return len(got) == want })
	talkative.wait(t, func(got []received) bool { return len(got) == want+2+1 })
	var body discordBody
	require.NoError(t, json.Unmarshal(got[0].body, &body))
	assert.Equal(t, "run-7: event created", body.Content)
	assert.NotNil(t, body.AllowedMentions.Parse, "an empty list, so that @everyone in a prompt is only text")
	for _, one := range got {
		assert.NotContains(t, string(one.body), "event step")
	}
}

func TestDiscordMessages(t *testing.T) {
	png := base64.StdEncoding.EncodeToString([]byte("picture"))
	images := func(sources ...string) map[string]any {
		var list []map[string]string
		for _, source := range sources {
			list = append(list, map[string]string{"src": source, "mime_type": "image/png"})
		}
		return map[string]any{"images": list}
	}
	webhook := job.Webhook{Type: job.WebhookDiscord}
	t.Run("long texts are cut", func(t *testing.T) {
		m, err := encode(webhook, Payload{Message: strings.Repeat("ä", 3000)}, "id")
		require.NoError(t, err)
		var body discordBody
		require.NoError(t, json.Unmarshal(m.body, &body))
		assert.Equal(t, 2000, utf8.RuneCountInString(body.Content))
	})
	t.Run("nothing to say", func(t *testing.T) {
		m, err := encode(webhook, Payload{Type: "training.status"}, "id")
		require.NoError(t, err)
		assert.Nil(t, m)
	})
	t.Run("pictures are files", func(t *testing.T) {
		payload := Payload{Message: "a cat", Body: images("data:image/png;base64,"+png, "data:text/html;base64,"+png, "https://elsewhere/", "data:image/png;base64,%%%")}
		m, err := encode(webhook, payload, "msg_1_2")
		require.NoError(t, err)
		again, err := encode(webhook, payload, "msg_1_2")
		require.NoError(t, err)
		assert.Equal(t, m, again, "every try sends the same bytes")
		_, params, err := mime.ParseMediaType(m.contentType)
		require.NoError(t, err)
		form := multipart.NewReader(bytes.NewReader(m.body), params["boundary"])
		part, err := form.NextPart()
		require.NoError(t, err)
		assert.Equal(t, "payload_json", part.FormName())
		part, err = form.NextPart()
		require.NoError(t, err)
		assert.Equal(t, "image-0.png", part.FileName())
		data, err := io.ReadAll(part)
		require.NoError(t, err)
		assert.Equal(t, "picture", string(data))
		_, err = form.NextPart()
		assert.ErrorIs(t, err, io.EOF, "what is no picture is left out")
	})
	t.Run("at most ten pictures", func(t *testing.T) {
		payload := Payload{Body: images(strings.Split(strings.Repeat("data:image/png;base64,"+png+"|", 12), "|")...)}
		assert.Len(t, discordPictures(payload), discordFiles)
	})
	t.Run("pictures within the size limit", func(t *testing.T) {
		big := base64.StdEncoding.EncodeToString(make([]byte, 5<<20))
		assert.Len(t, discordPictures(Payload{Body: images("data:image/png;base64,"+big, "data:image/png;base64,"+big)}), 1)
	})
}

func TestRawMessages(t *testing.T) {
	m, err := encode(job.Webhook{Type: job.WebhookRaw}, Payload{Type: "notification", Severity: "info", Title: "t", Message: "<b>&",
		Body: map[string]any{"title": "of the body", "job_id": "ab12cd34"}}, "id")
	require.NoError(t, err)
	assert.Equal(t, `{"job_id":"ab12cd34","message":"<b>&","severity":"info","title":"of the body","type":"notification"}`, string(m.body))
}
