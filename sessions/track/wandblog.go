package track

import (
	"encoding/binary"
	"hash/crc32"
	"os"
)

// Files of wandb are logs in the format of LevelDB, with another checksum (CRC-32 of type and data) and a header of their
// own: blocks of 32 KiB; records are split so that no part crosses a block.
const (
	logBlock      = 32 << 10
	logPartHeader = 7 // checksum, length, type

	partFull, partFirst, partMiddle, partLast = 1, 2, 3, 4
)

// logFileHeader is ":W&B", 0xBEE1 and version 0.
var logFileHeader = []byte{':', 'W', '&', 'B', 0xe1, 0xbe, 0}

// appendLog returns the bytes that add a record to a log of the given size.
func appendLog(size int64, record []byte) []byte {
	var out []byte
	for first := true; first || len(record) > 0; first = false {
		left := logBlock - int(size+int64(len(out)))%logBlock
		if left < logPartHeader {
			out = append(out, make([]byte, left)...)
			left = logBlock
		}
		n := min(len(record), left-logPartHeader)
		kind := byte(partMiddle)
		switch last := n == len(record); {
		case first && last:
			kind = partFull
		case first:
			kind = partFirst
		case last:
			kind = partLast
		}
		out = appendPart(out, kind, record[:n])
		record = record[n:]
	}
	return out
}

func appendPart(out []byte, kind byte, data []byte) []byte {
	out = binary.LittleEndian.AppendUint32(out, partCRC(kind, data))
	out = binary.LittleEndian.AppendUint16(out, uint16(len(data)))
	return append(append(out, kind), data...)
}

func partCRC(kind byte, data []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE([]byte{kind}), crc32.IEEETable, data)
}

// logRecord is a record and the size of the log before it and with it.
type logRecord struct {
	data       []byte
	start, end int64
}

// readLog returns the whole and sound records at the beginning of a file. The file is small: a step is about 200 bytes.
func readLog(path string) ([]logRecord, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(data) < len(logFileHeader) || string(data[:len(logFileHeader)]) != string(logFileHeader) {
		return nil, nil
	}
	var records []logRecord
	var parts []byte
	at, start := len(logFileHeader), len(logFileHeader)
	for {
		if left := logBlock - at%logBlock; left < logPartHeader {
			at += left
		}
		if at+logPartHeader > len(data) {
			return records, nil
		}
		length, kind := int(binary.LittleEndian.Uint16(data[at+4:])), data[at+6]
		end := at + logPartHeader + length
		if end > len(data) || partCRC(kind, data[at+logPartHeader:end]) != binary.LittleEndian.Uint32(data[at:]) {
			return records, nil
		}
		parts = append(parts, data[at+logPartHeader:end]...)
		at = end
		if kind == partFull || kind == partLast {
			records = append(records, logRecord{data: parts, start: int64(start), end: int64(at)})
			parts, start = nil, at
		}
	}
}
