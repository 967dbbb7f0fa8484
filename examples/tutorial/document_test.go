package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const sample = "# Title\n\n## First\n\n```bash\necho one\n```\n\n1. In a list:\n\n   ```bash\n   cat <<'JSON' > file\n   [\n     1\n   ]\n   JSON\n   ```\n\n" +
	"### Inner\n\n```json\n{\"not\": \"run\"}\n```\n\n```bash\ncurl -X POST http://localhost:8001/start \\\n  -F --a=1 \\\n  ... \\\n  -F --c='x y'\n```\n\n" +
	"## Last\n\n- `GET /api/configs/` – list (pass `?x`)\n- `POST /api/configs/{name}/dataloader` – again\n- other\n"

func TestParse(t *testing.T) {
	d := parse(sample)
	assert.Equal(t, []block{
		{"First", "First", 6, "echo one\n"},
		{"First", "First", 12, "cat <<'JSON' > file\n[\n  1\n]\nJSON\n"},
		{"First", "Inner", 26, "curl -X POST http://localhost:8001/start \\\n  -F --a=1 \\\n  ... \\\n  -F --c='x y'\n"},
	}, d.blocks)
	assert.Equal(t, []endpoint{{"GET", "/api/configs/"}, {"POST", "/api/configs/{name}/dataloader"}}, d.endpoints)
}

func TestFill(t *testing.T) {
	complete := "curl \\\n  -F __active_tab__=model \\\n  -F --a=9 \\\n  -F --b=2 \\\n  -F --d='test shot of <token>'\n"
	const filled = "  -F --b=2 \\\n  -F --d='test shot of <token>'"
	assert.Equal(t, "curl \\\n  -F --a=1 \\\n"+filled+" \\\n  -F --c=3\n", fill("curl \\\n  -F --a=1 \\\n  ... \\\n  -F --c=3\n", complete))
	assert.Equal(t, "curl \\\n  -F --a=1 \\\n"+filled+"\n", fill("curl \\\n  -F --a=1 \\\n  …other fields…\n", complete))
	assert.Equal(t, "curl\n", fill("curl\n", complete), "nothing is left out")
}

// The whole tutorial, where its document and a built stepd are there; see `make tutorial`.
func TestTutorial(t *testing.T) {
	document, err := filepath.Abs(os.Getenv("STEPD_TUTORIAL"))
	require.NoError(t, err)
	if os.Getenv("STEPD_TUTORIAL") == "" {
		t.Skip("STEPD_TUTORIAL does not name the document")
	}
	require.NoError(t, run(document, "../../bin/stepd", "../emoji", t.TempDir()))
}
