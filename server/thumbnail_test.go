package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"image"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A frame stays below what WebSocket clients take, with a smaller picture if need be.
func TestFramesStayShort(t *testing.T) {
	noise := image.NewRGBA(image.Rect(0, 0, 1024, 600))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range noise.Pix {
		noise.Pix[i] = uint8(random.Uint32())
	}
	file := filepath.Join(t.TempDir(), "picture.png")
	var data bytes.Buffer
	require.NoError(t, png.Encode(&data, noise))
	require.Greater(t, data.Len(), largestMessage)
	require.NoError(t, os.WriteFile(file, data.Bytes(), 0o644))
	p := Payload{Body: map[string]any{"images": pictures(file), "body": `"mime_type":"image/png"`}}
	decode := func(e encoded) (picture, string) {
		var out bytes.Buffer
		require.NoError(t, e.writeTo(&out))
		var object struct {
			Event struct {
				Images []picture `json:"images"`
				Body   string    `json:"body"`
			} `json:"event"`
		}
		require.NoError(t, json.Unmarshal(out.Bytes(), &object))
		assert.Equal(t, `"mime_type":"image/png"`, object.Event.Body)
		require.Len(t, object.Event.Images, 1)
		return object.Event.Images[0], out.String()
	}
	object := encodeObject(map[string]any{"event": p.Body}, p)
	whole, text := decode(object)
	assert.Equal(t, "image/png", whole.MimeType)
	assert.Greater(t, len(text), largestMessage)

	small, text := decode(object.within(largestMessage))
	assert.Less(t, len(text), largestMessage)
	assert.Equal(t, "image/jpeg", small.MimeType)
	encodedPicture, ok := strings.CutPrefix(small.Source, "data:image/jpeg;base64,")
	require.True(t, ok)
	raw, err := base64.StdEncoding.DecodeString(encodedPicture)
	require.NoError(t, err)
	config, err := jpeg.DecodeConfig(bytes.NewReader(raw))
	require.NoError(t, err)
	assert.Equal(t, []int{512, 300}, []int{config.Width, config.Height})

	require.NoError(t, os.WriteFile(file, append([]byte("no picture"), data.Bytes()...), 0o644))
	assert.Equal(t, object, object.within(largestMessage), "what cannot be read stays")
	require.NoError(t, os.Remove(file))
	assert.Equal(t, object, object.within(largestMessage))
}
