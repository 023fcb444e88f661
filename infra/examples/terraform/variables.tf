variable "region" {
  description = "The Region of Keygate and the API."
  type        = string
}

variable "package_folder" {
  description = "The folder of a package, such as keygate-0.1.0-x86_64."
  type        = string
}

variable "bucket" {
  description = "The name of the bucket that is made for packages."
  type        = string
}

variable "stack_name" {
  description = "The name of the stack of Keygate."
  type        = string
  default     = "keygate"
}

variable "parameters" {
  description = "Parameters of Keygate, by their names in the template, such as { Brand = \"acme\" }."
  type        = map(string)
  default     = {}
}
