  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    unreachable)
