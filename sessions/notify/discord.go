package notify

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/textproto"
	"strings"

	"github.com/stepd/stepd/sessions/job"
)

// Limits of Discord for one message.
const (
	discordCharacters = 2000
	discordFiles      = 10
	discordBytes      = 8 << 20 // of all files together
)

// discordContent is the JSON part. Prompts and file names come from users, so nobody is mentioned.
type discordContent struct {
	Content         string          `json:"content"`
	AllowedMentions discordMentions `json:"allowed_mentions"`
}

type discordMentions struct {
	Parse []string `json:"parse"`
}

// encodeDiscord makes a message for people, with pictures as files; nil when there is nothing to say.
func encodeDiscord(w job.Webhook, p Payload, id string) (*message, error) {
	text := p.Message
	if text == "" {
		text = p.Title
	}
	files := discordPictures(p)
	if text == "" && len(files) == 0 {
		return nil, nil
	}
	if w.Prefix != "" {
		text = strings.TrimSpace(w.Prefix + " " + text)
	}
	content, err := json.Marshal(discordContent{Content: shorten(text, discordCharacters), AllowedMentions: discordMentions{Parse: []string{}}})
	if err != nil {
		return nil, fmt.Errorf("write Discord message as JSON: %w", err)
	}
	if len(files) == 0 {
		return &message{contentType: "application/json", body: content}, nil
	}
	return discordForm(content, files, id)
}

// shorten cuts text to a number of characters.
func shorten(text string, limit int) string {
	characters := []rune(text)
	if len(characters) <= limit {
		return text
	}
	return string(characters[:limit-1]) + "…"
}

var pictureExtensions = map[string]string{"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}

// picture is one attached file.
type picture struct {
	mime string
	data []byte
}

// discordPictures decodes the data URIs of a payload, as many as Discord takes.
func discordPictures(p Payload) []picture {
	var pictures []picture
	total := 0
	for _, source := range imageSources(p.Body["images"]) {
		header, encoded, ok := strings.Cut(strings.TrimPrefix(source, "data:"), ",")
		mime, isBase64 := strings.CutSuffix(header, ";base64")
		if !ok || !isBase64 || pictureExtensions[mime] == "" || len(pictures) == discordFiles {
			continue
		}
		data, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || total+len(data) > discordBytes {
			continue
		}
		total += len(data)
		pictures = append(pictures, picture{mime: mime, data: data})
	}
	return pictures
}

// imageSources takes the list in any of the shapes that Go code writes it in.
func imageSources(images any) []string {
	text, err := json.Marshal(images)
	if err != nil {
		return nil
	}
	var list []struct {
		Source string `json:"src"`
	}
	if json.Unmarshal(text, &list) != nil {
		return nil
	}
	var sources []string
	for _, image := range list {
		sources = append(sources, image.Source)
	}
	return sources
}

// discordForm writes a form whose boundary depends on the event only, as its bytes must.
func discordForm(content []byte, files []picture, id string) (*message, error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	sum := sha256.Sum256([]byte(id))
	if err := form.SetBoundary(hex.EncodeToString(sum[:])); err != nil {
		return nil, err
	}
	part := func(disposition, mime string, data []byte) error {
		w, err := form.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}, "Content-Type": {mime}})
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	}
	if err := part(`form-data; name="payload_json"`, "application/json", content); err != nil {
		return nil, err
	}
	for i, file := range files {
		disposition := fmt.Sprintf(`form-data; name="files[%d]"; filename="image-%d.%s"`, i, i, pictureExtensions[file.mime])
		if err := part(disposition, file.mime, file.data); err != nil {
			return nil, err
		}
	}
	if err := form.Close(); err != nil {
		return nil, err
	}
	return &message{contentType: form.FormDataContentType(), body: body.Bytes()}, nil
}
