package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/job"
)

// checkpointList is the answer of /api/training/checkpoints.
type checkpointList struct {
	OutputDir   string           `json:"output_dir"`
	Checkpoints []checkpointInfo `json:"checkpoints"` // newest first
	Total       int              `json:"total"`
}

type checkpointInfo struct {
	Name       string  `json:"name"`
	Path       string  `json:"path"`
	Step       int64   `json:"step"`
	GlobalStep int64   `json:"global_step"`
	Epoch      int64   `json:"epoch"`
	Timestamp  float64 `json:"timestamp"` // seconds since 1970
	Reason     string  `json:"reason"`
	Bytes      int64   `json:"bytes"`
	IsLatest   bool    `json:"is_latest,omitempty"`
}

// noCheckpoints is the answer when no folder is known.
type noCheckpoints struct {
	Error       string           `json:"error"`
	Checkpoints []checkpointInfo `json:"checkpoints"`
}

const noOutputDir = "No output directory specified"

var outputDirField = Field{Name: "output_dir", Kind: job.Text, Doc: "folder of the run; default: that of the current or last job"}

// foreignFolder is the answer to folders that are not told about.
var foreignFolder = Answer{Status: http.StatusBadRequest, Doc: "output_dir is neither the folder of a run nor below the outputs folder", Example: detail{}}

var listCheckpointsSpec = Spec{
	Query: []Field{outputDirField},
	Answers: []Answer{
		{Status: http.StatusOK, Doc: "the complete checkpoints, newest first", Example: checkpointList{}},
		{Status: http.StatusOK, Doc: "no list, when no folder is known", Example: noCheckpoints{}},
		foreignFolder,
	},
}

var postCheckpointsSpec = Spec{
	Query:   []Field{outputDirField},
	Body:    Body{Media: []string{mediaForm, mediaMultipart}, Fields: []Field{outputDirField}, Open: true},
	Answers: listCheckpointsSpec.Answers,
}

// listCheckpoints lists the checkpoints of a run by their manifests.
func (s *Server) listCheckpoints(c *fiber.Ctx) error {
	dir, err := s.outputDir(c)
	if err != nil {
		return err
	}
	if dir == "" {
		return c.JSON(noCheckpoints{Error: noOutputDir, Checkpoints: []checkpointInfo{}})
	}
	list := checkpointList{OutputDir: dir, Checkpoints: []checkpointInfo{}}
	infos, err := completeCheckpoints(dir)
	if err != nil {
		return failure(http.StatusBadRequest, "output_dir: %s cannot be read: %v", dir, errors.Unwrap(err))
	}
	for _, info := range slices.Backward(infos) {
		m := info.Manifest
		list.Checkpoints = append(list.Checkpoints, checkpointInfo{Name: filepath.Base(info.Path), Path: info.Path, Step: m.Step, GlobalStep: m.Step,
			Epoch: m.Epoch, Timestamp: epochSeconds(m.Created), Reason: m.Reason, Bytes: m.Bytes(), IsLatest: len(list.Checkpoints) == 0})
	}
	list.Total = len(list.Checkpoints)
	return c.JSON(list)
}

// completeCheckpoints makes no folder: one that is not there has no checkpoints.
func completeCheckpoints(dir string) ([]*checkpoint.Info, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return checkpoint.At(dir).List()
}

// outputDir is the folder that the request names, or that of the current or last job; empty when there is none.
func (s *Server) outputDir(c *fiber.Ctx) (string, error) {
	dir := c.Query("output_dir")
	if c.Method() == http.MethodPost {
		fields, err := readForm(c)
		if err != nil {
			return "", err
		}
		for _, name := range []string{"output_dir", "--output_dir"} {
			if values := fields[name]; len(values) > 0 {
				dir = values[len(values)-1]
			}
		}
	}
	if dir != "" {
		return s.runFolder("output_dir", dir)
	}
	if session := s.currentJob(); session != nil {
		return session.Snapshot().RunDir, nil
	}
	return "", nil
}

func isCheckpointName(name string) bool {
	_, ok := checkpoint.ParseName(name)
	return ok
}

// checkedCheckpoint tells whether a checkpoint can be resumed.
type checkedCheckpoint struct {
	Checkpoint string `json:"checkpoint,omitempty"`
	Valid      bool   `json:"valid"`
	Message    string `json:"message"`
}

var validateCheckpointSpec = Spec{
	Query: []Field{outputDirField},
	Answers: []Answer{{Status: http.StatusOK, Doc: "whether every file of the checkpoint is as it was written", Example: checkedCheckpoint{}}, foreignFolder,
		{Status: http.StatusServiceUnavailable, Doc: "as many checkpoints as are read at one time are being read", Example: detail{}}},
}

// validateCheckpoint reads a checkpoint whole and compares it with its manifest.
func (s *Server) validateCheckpoint(c *fiber.Ctx) error {
	name, err := url.PathUnescape(c.Params("name"))
	if err != nil {
		name = c.Params("name")
	}
	dir, err := s.outputDir(c)
	if err != nil {
		return err
	}
	answer := checkedCheckpoint{Checkpoint: name}
	switch {
	case dir == "":
		return c.JSON(checkedCheckpoint{Message: noOutputDir})
	case !isCheckpointName(name):
		answer.Message = "Not the name of a checkpoint; those are checkpoint-STEP or checkpoint-STEP-rolling"
		return c.JSON(answer)
	}
	leave, err := s.enterHashing()
	if err != nil {
		return err
	}
	defer leave()
	manifest, err := checkpoint.Verify(filepath.Join(dir, name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		answer.Message = "Checkpoint not found"
	case err != nil:
		answer.Message = err.Error()
	default:
		answer.Valid, answer.Message = true, fmt.Sprintf("Checkpoint is valid: %d files of step %d match the manifest", len(manifest.Files), manifest.Step)
	}
	return c.JSON(answer)
}
