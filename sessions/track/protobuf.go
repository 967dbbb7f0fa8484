package track

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// message builds a protocol buffer by hand: two small schemas are no reason for a code generator. Fields are appended in
// the order of the calls; numbers that are zero are left out, as proto3 has it.
type message []byte

// Wire types.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

func (m message) key(field, wire int) message {
	return binary.AppendUvarint(m, uint64(field)<<3|uint64(wire))
}

func (m message) integer(field int, value int64) message {
	if value == 0 {
		return m
	}
	return binary.AppendUvarint(m.key(field, wireVarint), uint64(value))
}

func (m message) double(field int, value float64) message {
	return binary.LittleEndian.AppendUint64(m.key(field, wireFixed64), math.Float64bits(value))
}

func (m message) float(field int, value float32) message {
	return binary.LittleEndian.AppendUint32(m.key(field, wireFixed32), math.Float32bits(value))
}

func (m message) bytes(field int, value []byte) message {
	m = binary.AppendUvarint(m.key(field, wireBytes), uint64(len(value)))
	return append(m, value...)
}

func (m message) text(field int, value string) message { return m.bytes(field, []byte(value)) }

// errNotProtobuf says that bytes are no message.
var errNotProtobuf = errors.New("not a protocol buffer")

// field of a message: a number in value, or bytes.
type field struct {
	number int
	value  uint64
	bytes  []byte
}

// fields takes a message apart.
func fields(data []byte) ([]field, error) {
	var list []field
	for len(data) > 0 {
		key, n := binary.Uvarint(data)
		if n <= 0 {
			return nil, errNotProtobuf
		}
		data = data[n:]
		f := field{number: int(key >> 3)}
		size := 0
		switch key & 7 {
		case wireVarint:
			if f.value, size = binary.Uvarint(data); size <= 0 {
				return nil, errNotProtobuf
			}
		case wireFixed64:
			size = 8
		case wireFixed32:
			size = 4
		case wireBytes:
			length, n := binary.Uvarint(data)
			if n <= 0 || length > uint64(len(data)-n) {
				return nil, errNotProtobuf
			}
			f.bytes, size = data[n:n+int(length)], n+int(length)
		default:
			return nil, errNotProtobuf
		}
		if size > len(data) {
			return nil, errNotProtobuf
		}
		data = data[size:]
		list = append(list, f)
	}
	return list, nil
}

// find returns the first field with this number; the zero field when there is none.
func find(list []field, number int) field {
	for _, f := range list {
		if f.number == number {
			return f
		}
	}
	return field{}
}

func has(list []field, number int) bool {
	return slices.ContainsFunc(list, func(f field) bool { return f.number == number })
}
