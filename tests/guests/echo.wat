  ;; Answers with what was asked.
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (call $reply (local.get 2) (local.get 3)))
