package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"os"
	"regexp"
)

var jobID = regexp.MustCompile(`Job ID: ([0-9a-f]{8})`)

// StartTraining sends a form as the tutorial of SimpleTuner's API does, and returns the id of the job.
func StartTraining(ctx context.Context, server string, header http.Header, form map[string]string) (string, error) {
	var body bytes.Buffer
	writer := multipart.NewWriter(&body)
	for name, value := range form {
		if err := writer.WriteField("--"+name, value); err != nil {
			return "", err
		}
	}
	if err := writer.Close(); err != nil {
		return "", err
	}
	page, err := Call(ctx, "POST", server+"/api/training/start", withType(header, writer.FormDataContentType()), body.Bytes())
	if err != nil {
		return "", err
	}
	found := jobID.FindSubmatch(page)
	if found == nil {
		return "", fmt.Errorf("the training did not start: %s", page)
	}
	return string(found[1]), nil
}

// WriteDataloader writes the description of a folder of pictures, with captions in text files, as SimpleTuner's clients do.
func WriteDataloader(path, pictures, textCache string, resolution int) error {
	data, err := json.Marshal([]map[string]any{
		{"id": "pictures", "type": "local", "dataset_type": "image", "instance_data_dir": pictures, "caption_strategy": "textfile",
			"resolution": resolution, "resolution_type": "pixel"},
		{"id": "text", "type": "local", "dataset_type": "text_embeds", "default": true, "cache_dir": textCache},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
