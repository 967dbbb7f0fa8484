package track

import (
	"bufio"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedCRC is the checksum of TFRecord files.
func maskedCRC(data []byte) uint32 {
	sum := crc32.Checksum(data, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}

// frame is one record of a TFRecord file: length, its checksum, data, its checksum.
func frame(data []byte) []byte {
	record := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	record = binary.LittleEndian.AppendUint32(record, maskedCRC(record))
	record = append(record, data...)
	return binary.LittleEndian.AppendUint32(record, maskedCRC(data))
}

// largestRecord bounds what a damaged length makes a reader allocate.
const largestRecord = 256 << 20

// scanFrames calls visit for every whole record until it returns false, and returns the length of what was visited.
func scanFrames(path string, visit func(data []byte) bool) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var kept int64
	for reader := bufio.NewReader(file); ; {
		data, ok := nextFrame(reader)
		if !ok || !visit(data) {
			return kept, nil
		}
		kept += int64(len(data)) + 16
	}
}

// nextFrame tells whether a whole and sound record came.
func nextFrame(reader io.Reader) ([]byte, bool) {
	var head [12]byte
	if _, err := io.ReadFull(reader, head[:]); err != nil {
		return nil, false
	}
	length := binary.LittleEndian.Uint64(head[:8])
	if maskedCRC(head[:8]) != binary.LittleEndian.Uint32(head[8:]) || length > largestRecord {
		return nil, false
	}
	data := make([]byte, length+4)
	if _, err := io.ReadFull(reader, data); err != nil {
		return nil, false
	}
	data, sum := data[:length], binary.LittleEndian.Uint32(data[length:])
	return data, maskedCRC(data) == sum
}
