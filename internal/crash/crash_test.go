package main

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/server"
	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/configs"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/worker"
)

// TestMain makes the test binary its own server and its own worker.
func TestMain(m *testing.M) {
	switch os.Getenv("STEPD_TEST_ROLE") {
	case "worker":
		os.Exit(worker.Main(&fake.Engine{}))
	case "server":
		if err := serveForTest(os.Getenv("STEPD_TEST_ADDRESS"), os.Getenv("STEPD_TEST_DIR")); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serveForTest is stepd serve with the fake engine.
func serveForTest(address, dir string) error {
	listeners, err := server.Listen([]string{address})
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	environments, err := configs.Open(filepath.Join(dir, "config"))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	manager, err := sessions.Open(ctx, sessions.Options{DataDir: filepath.Join(dir, "data"),
		Launcher: worker.Command{Path: program, Env: []string{"STEPD_TEST_ROLE=worker"}}})
	if err != nil {
		return err
	}
	srv := server.New(server.Options{Manager: manager, Configs: environments, Prober: &fake.Engine{}})
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(listeners) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	if err := manager.Close(context.Background()); err != nil {
		return err
	}
	return srv.Shutdown(context.Background())
}

// TestAShortAttack is make crash with ten kills and the fake engine.
func TestAShortAttack(t *testing.T) {
	dir := t.TempDir()
	files := fixture.Job(t, dir)
	program, err := os.Executable()
	require.NoError(t, err)
	p := plan{kills: 10, seed: rand.Uint64(), dir: dir, model: files.Engine.Model, pictures: files.Datasets[0].Folder, resolution: 64,
		steps: 120, every: 10, keep: 3, longest: 300 * time.Millisecond, report: t.Logf,
		command: func(address string) *exec.Cmd {
			command := exec.Command(program)
			command.Env = append(os.Environ(), "STEPD_TEST_ROLE=server", "STEPD_TEST_ADDRESS="+address, "STEPD_TEST_DIR="+dir)
			return command
		}}
	require.NoError(t, p.writeDataloader())
	t.Logf("seed %d", p.seed)
	counts, err := attack(t.Context(), p)
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "server.log"))
		t.Logf("the server said:\n%s", log)
	}
	require.NoError(t, err)
	assert.GreaterOrEqual(t, counts.kills(), 10)
	t.Log(counts)
}
