package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPicturesAreReadWhileWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "picture.png")
	content := bytes.Repeat([]byte{0x89, 'P', 'N', 'G', 0, 1, 2}, 10_000) // more than one read, and no multiple of three
	require.NoError(t, os.WriteFile(path, content, 0o644))
	payload := func() Payload { return Payload{Body: map[string]any{"body": "a \"prompt\"", "images": pictures(path)}} }
	p := payload()
	object := encodeObject(map[string]any{"event": p.Body}, p)
	assert.Less(t, len(object.text), 300, "the picture is not in it")
	var written bytes.Buffer
	require.NoError(t, object.writeTo(&written))
	var got struct {
		Event struct {
			Body   string
			Images []struct {
				Src  string
				Mime string `json:"mime_type"`
			}
		}
	}
	require.NoError(t, json.Unmarshal(written.Bytes(), &got))
	source := "data:image/png;base64," + base64.StdEncoding.EncodeToString(content)
	require.Len(t, got.Event.Images, 1)
	assert.Equal(t, []string{"a \"prompt\"", "image/png"}, []string{got.Event.Body, got.Event.Images[0].Mime})
	assert.True(t, got.Event.Images[0].Src == source)
	whole := withPictures(payload()).Body["images"].([]picture)
	assert.True(t, whole[0].Source == source, "what webhooks get is the same")

	assert.ErrorIs(t, object.writeTo(&brokenWriter{left: 1000}), errBroken, "a client that leaves ends the writing")
	require.NoError(t, os.Remove(path))
	written.Reset()
	require.NoError(t, object.writeTo(&written))
	require.NoError(t, json.Unmarshal(written.Bytes(), &got), "a picture that is gone leaves a whole object")
	assert.Equal(t, "data:image/png;base64,", got.Event.Images[0].Src)
	assert.Empty(t, pictures(path))
	assert.Empty(t, pictures(t.TempDir()), "no file")
}

var errBroken = errors.New("broken")

// brokenWriter fails after some bytes.
type brokenWriter struct{ left int }

func (b *brokenWriter) Write(data []byte) (int, error) {
	if b.left -= len(data); b.left < 0 {
		return 0, errBroken
	}
	return len(data), nil
}
