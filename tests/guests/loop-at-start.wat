  ;; Loops forever in its start function.
  (func $begin (loop $for-ever (br $for-ever)))
  (start $begin)
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    unreachable)
