  ;; Loops forever.
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (loop $for-ever (br $for-ever))
    unreachable)
